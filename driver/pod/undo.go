package pod

import (
	"errors"
	"fmt"
	"slices"
)

// undo is a stack of what to do to take back what was done.
type undo struct{ steps []undoStep }

type undoStep struct {
	what string
	do   func() error
}

// push adds how to take back what has just been done. The name completes
// "undo …" in an error.
func (u *undo) push(what string, do func() error) {
	u.steps = append(u.steps, undoStep{what, do})
}

// run takes all back, last first. A step that fails does not keep the others
// from running.
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
