// Command lines writes numbered lines for tests, all of the same length, some
// every ten milliseconds, and ends when it has written all or is told to.
//
// It keeps no pace that its reader does not: what it could not write in time it
// writes later, in order.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"time"
)

func main() {
	lines := flag.Int("lines", 1000, "how `many` in all")
	width := flag.Int("width", 16, "`bytes` of a line, its end included")
	burst := flag.Int("burst", 10, "how `many` every ten milliseconds")
	until := flag.String("until", "", "end when there is this `file`, and leave the number of lines in it")
	flag.Parse()
	if err := write(*lines, *width, *burst, *until); err != nil {
		fmt.Fprintln(os.Stderr, "lines:", err)
		os.Exit(1)
	}
}

func write(lines, width, burst int, until string) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var text bytes.Buffer
	for n := 0; n < lines; {
		text.Reset()
		for range min(burst, lines-n) {
			n++
			fmt.Fprintf(&text, "%0*d\n", width-1, n)
		}
		if _, err := os.Stdout.Write(text.Bytes()); err != nil {
			return err
		}
		if _, err := os.Stat(until); err == nil {
			return os.WriteFile(until, fmt.Append(nil, n), 0o644)
		}
		<-tick.C
	}
	return nil
}
