package pod

import "errors"

var (
	// ErrNotFound is returned for a task that this manager and its state
	// directory do not know.
	ErrNotFound = errors.New("task not found")
	// ErrRunning is returned where a task must have ended and has not.
	ErrRunning = errors.New("task is still running")
	// ErrInvalid is wrapped by every error about a task's description. Such
	// an error was found before anything was made.
	ErrInvalid = errors.New("invalid task")
)
