// Command summary reads the events of "go test -json" and sums up: a line for
// each package, the output of what failed, every skip with its reason, and as
// its last line "N passed, N failed, N skipped". It exits with 1 when anything
// failed, or when there was nothing.
//
// A test with subtests is not counted beside them. It does not run tests.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
)

func main() {
	ok, err := run(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "summary:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// run reads events until in ends, and writes as it learns.
func run(in io.Reader, out io.Writer) (ok bool, err error) {
	r := newReport(out)
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			r.line(line)
		}
		if err == io.EOF {
			return r.finish(), nil
		}
		if err != nil {
			return false, fmt.Errorf("read events: %w", err)
		}
	}
}
