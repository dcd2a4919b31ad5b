// Command manual prints the manual page of nomad-driver-pod for packages. It is not part of
// them.
package main

import (
	"flag"
	"fmt"
	"time"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
)

func main() {
	version := flag.String("version", "", "of the plugin")
	epoch := flag.Int64("date", 0, "of the version, in Unix `seconds`")
	flag.Parse()
	fmt.Print(driver.Manual(*version, time.Unix(*epoch, 0)))
}
