package main

import (
	"strings"
	"testing"
	"unicode"

	"github.com/shoenig/test/must"
)

// FuzzCommandLine: a command line on the page is bounded and printable.
func FuzzCommandLine(f *testing.F) {
	f.Add("/bin/sh\x00-c\x00sleep", "sh")
	f.Add("\x1b[2J\u202e\xff", "\x1b]0;x\a")
	f.Add(strings.Repeat("é", maxCommandBytes), "")
	f.Fuzz(func(t *testing.T, args, name string) {
		line := commandLine(strings.Split(args, "\x00"), name)
		for _, r := range line {
			must.True(t, unicode.IsPrint(r), must.Sprintf("%q", line))
		}
		const escaped = len(`\U00000000`)
		must.LessEq(t, escaped*max(maxCommandBytes, len(name))+len("[…]"), len(line))
		dir, program, rest := splitCommand(line)
		must.Eq(t, line, dir+program+rest)
	})
}
