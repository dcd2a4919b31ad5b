// Command lines writes numbered lines for tests, all of the same length, some
// every few milliseconds, and begins and ends when it is told to.
//
// What its reader keeps it from writing in time it writes as soon as it can, in
// order: so many lines a second are what a reader must take in the end.
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
	line := append(bytes.Repeat([]byte{'0'}, width-1), '\n')
	var text []byte
	next := time.Now()
	for n := 0; n < lines; {
		text = text[:0]
		for range min(burst, lines-n) {
			n++
			increment(line[:width-1])
			text = append(text, line...)
		}
		if _, err := os.Stdout.Write(text); err != nil {
			return err
		}
		if until != "" && exists(until) {
			return os.WriteFile(until, fmt.Append(nil, n), 0o644)
		}
		next = next.Add(every)
		time.Sleep(time.Until(next))
	}
	return nil
}

// increment adds one to a decimal number. A test's pace should not be that of
// formatting.
func increment(number []byte) {
	for i := len(number) - 1; i >= 0; i-- {
		if number[i] < '9' {
			number[i]++
			return
		}
		number[i] = '0'
	}
}
