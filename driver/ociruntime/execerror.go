package ociruntime

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// execError is a runtime's log of a command that did not start.
type execError string

func (e execError) Error() string { return string(e) }

// commandError is a reason of ours for it, the same for all runtimes.
type commandError struct {
	kind error // ErrNoProgram or ErrNotExecutable
	text string
}

func (e commandError) Error() string { return e.text }
func (e commandError) Unwrap() error { return e.kind }

// about classifies the error. The runtimes have their own words for a program that is missing or
// cannot be executed; these are replaced.
func (e execError) about(p *specs.Process) error {
	msg := strings.ToLower(string(e))
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(msg, w) {
				return true
			}
		}
		return false
	}
	command := p.Args[0]
	missing := fmt.Sprintf("command %q not found in the task's file system", command)
	if !strings.Contains(command, "/") {
		missing = fmt.Sprintf("command %q not found in PATH (%s)", command, path(p.Env))
	}
	refused := "permission denied; it must be a file that the task's user may execute"
	switch {
	case has("executable file", "not found in $path", ": stat "):
		return commandError{ErrNoProgram, missing}
	case has("exec format error"):
		return commandError{ErrNotExecutable, fmt.Sprintf("command %q: exec format error", command)}
	case has("open executable", "is a directory"), has("permission denied") && has("exec: "):
		return commandError{ErrNotExecutable, fmt.Sprintf("command %q: %s", command, refused)}
	case has("exec container process", "exec the container process", "exec `") && has("no such file or directory"):
		return commandError{ErrNoProgram, fmt.Sprintf("command %q: its interpreter or dynamic loader not found in the task's file system", command)}
	case has("no such file or directory"):
		return commandError{ErrNoProgram, e.withoutPrefix()}
	case has("permission denied"):
		return commandError{ErrNotExecutable, e.withoutPrefix()}
	}
	return errors.New(e.withoutPrefix())
}

// withoutPrefix removes runc's words for every failure.
func (e execError) withoutPrefix() string {
	return strings.TrimPrefix(string(e), "exec failed: ")
}

func path(env []string) (value string) {
	for _, entry := range env {
		if v, ok := strings.CutPrefix(entry, "PATH="); ok {
			value = v
		}
	}
	return value
}

// A runtime that cannot execute a command writes its error to the command's output, in words of its
// own, in color on a terminal, and, depending on its version, in JSON.

// runtimeError matches such a line. A terminal may have echoed input in front of it.
var runtimeError = regexp.MustCompile("(?:\x1b\\[[0-9;]*m)?" +
	"(?:executable file `|open executable|exec(?: container process| the container process)? `|" +
	"exec failed: |chdir to `|cannot chdir|\\{\"msg\":\")[^\n]*\n$")

// releaseAfter bounds how long a command's own line may be withheld.
const releaseAfter = 10 * time.Second

// firstLine withholds the first piece of a command's output if it looks like a runtime's error; of a
// terminal's output, which may begin with an echo, any piece. It is discarded if the runtime has
// failed. Otherwise it is the command's, and is released by the next piece, the command's end, or
// the time.
type firstLine struct {
	mu    sync.Mutex
	to    io.Writer
	tty   bool
	over  bool // the first piece has been seen
	held  []byte
	timer *time.Timer
	err   error // of to
}

// withholdFailure puts a firstLine in front of the output that has the runtime's errors.
func (o *ExecOptions) withholdFailure() *firstLine {
	to := &o.Stderr
	if o.Process.Terminal {
		to = &o.Stdout
	}
	f := &firstLine{to: *to, tty: o.Process.Terminal}
	if *to != nil {
		*to = f
	}
	return f
}

func (f *firstLine) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.releaseLocked()
	if f.err != nil {
		return 0, f.err
	}
	rest := p
	if at := runtimeError.FindIndex(p); at != nil && (f.tty || !f.over && at[0] == 0) {
		rest, f.held = p[:at[0]], bytes.Clone(p[at[0]:])
		f.timer = time.AfterFunc(releaseAfter, f.release)
	}
	f.over = true
	if len(rest) > 0 {
		if _, err := f.to.Write(rest); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

func (f *firstLine) release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.releaseLocked()
}

func (f *firstLine) releaseLocked() {
	if f.timer != nil {
		f.timer.Stop()
	}
	if len(f.held) > 0 {
		_, f.err = f.to.Write(f.held)
		f.held = nil
	}
}

// finish discards the withheld line if the command did not run, and releases it otherwise. It does
// not wait for a receiver that blocks: nothing is withheld then.
func (f *firstLine) finish(failed bool) {
	if !f.mu.TryLock() {
		return
	}
	defer f.mu.Unlock()
	if failed {
		f.held = nil
	}
	f.releaseLocked()
}
