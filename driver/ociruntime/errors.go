package ociruntime

import "errors"

var (
	// ErrNotFound is returned for a container that the runtime does not know.
	ErrNotFound = errors.New("container not found")
	// ErrNoExit is returned where conmon left no exit file: the container
	// still runs, or conmon died before it.
	ErrNoExit = errors.New("no exit status was recorded")
)
