// Command lines writes numbered lines for tests, all of the same length, some
// every few milliseconds, and begins and ends when it is told to.
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
	burst := flag.Int("burst", 10, "how `many` at a time")
	every := flag.Duration("every", 10*time.Millisecond, "from one time to the next")
	when := flag.String("when", "", "begin when there is this `file`")
	until := flag.String("until", "", "end when there is this `file`, and leave the number of lines in it")
	flag.Parse()
	for *when != "" && !exists(*when) {
		time.Sleep(*every)
	}
	if err := write(*lines, *width, *burst, *every, *until); err != nil {
		fmt.Fprintln(os.Stderr, "lines:", err)
		os.Exit(1)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func write(lines, width, burst int, every time.Duration, until string) error {
	tick := time.NewTicker(every)
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
		if until != "" && exists(until) {
			return os.WriteFile(until, fmt.Append(nil, n), 0o644)
		}
		<-tick.C
	}
	return nil
}
