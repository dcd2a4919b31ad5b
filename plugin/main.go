// Command nomad-driver-pod serves the pod task driver to a Nomad client,
// which starts it. It does nothing else, but for being its own helper.
package main

import (
	"github.com/nomad-sidecar/nomad-sidecar/driver"
	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
)

func main() {
	if pod.Reexec() {
		return
	}
	driver.Serve()
}
