package ociruntime

import "errors"

var (
	// ErrNotFound is returned for a container that the runtime does not know.
	ErrNotFound = errors.New("container not found")
	// ErrNoProgram is wrapped by the error of a command that does not exist in a container, and
	// ErrNotExecutable by the error of one that cannot be executed.
	ErrNoProgram     = errors.New("program not found")
	ErrNotExecutable = errors.New("program is not executable")
	// ErrNoExit is returned if conmon left no exit file: the container still runs, or
	// conmon died first.
	ErrNoExit = errors.New("no exit status was recorded")

	// errNoReport is the consequence of an error of the runtime.
	errNoReport = errors.New("conmon exited without a report")
)
