package pod

import (
	"errors"
	"fmt"
	"slices"
)

// undo is a stack of functions that roll back a partial start.
type undo struct{ steps []undoStep }

type undoStep struct {
	what string
	do   func() error
}

// push adds a function that undoes the last action. what completes "undo …" in an
// error.
func (u *undo) push(what string, do func() error) {
	u.steps = append(u.steps, undoStep{what, do})
}

// run calls all functions, last first. It continues after errors and joins them.
func (u *undo) run() error {
	var errs []error
	for _, s := range slices.Backward(u.steps) {
		if err := s.do(); err != nil {
			errs = append(errs, fmt.Errorf("undo %s: %w", s.what, err))
		}
	}
	u.steps = nil
	return errors.Join(errs...)
}
