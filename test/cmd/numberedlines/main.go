// Command numberedlines writes numbered lines of equal length for tests, some every few milliseconds. It can
// start and stop when a file appears.
//
// If its reader blocks it, it writes the delayed lines as soon as possible, in order, so the reader must
// keep up with the average rate.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"time"
)

func main() {
	lines := flag.Int("lines", 1000, "total `number` of lines")
	width := flag.Int("width", 16, "`bytes` per line, including the newline")
	burst := flag.Int("burst", 10, "`number` of lines per write")
	every := flag.Duration("every", 10*time.Millisecond, "interval between writes")
	when := flag.String("when", "", "start when this `file` exists")
	until := flag.String("until", "", "stop when this `file` exists, and write the number of lines to it")
	flag.Parse()
	for *when != "" && !exists(*when) {
		time.Sleep(*every)
	}
	if err := write(*lines, *width, *burst, *every, *until); err != nil {
		fmt.Fprintln(os.Stderr, "numberedlines:", err)
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

// increment adds one to a decimal number. It avoids formatting, which would limit the rate.
func increment(number []byte) {
	for i := len(number) - 1; i >= 0; i-- {
		if number[i] < '9' {
			number[i]++
			return
		}
		number[i] = '0'
	}
}
