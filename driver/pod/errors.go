package pod

import "errors"

var (
	// ErrNotFound is returned for a task that is neither in this manager nor in its
	// state directory.
	ErrNotFound = errors.New("task not found")
	// ErrRunning is returned if a task must have ended but is still running.
	ErrRunning = errors.New("task is still running")
	// ErrInvalid is wrapped by every error about a task's description. Nothing was
	// created before such an error.
	ErrInvalid = errors.New("invalid task")
)
