package pod

import (
	"errors"
	"fmt"
	"slices"
)

// rollback is a stack of functions that undo a partial start.
type rollback struct{ actions []undoAction }

type undoAction struct {
	what string
	do   func() error
}

// push adds a function that undoes the last action. what completes "undo …" in an
// error.
func (r *rollback) push(what string, do func() error) {
	r.actions = append(r.actions, undoAction{what, do})
}

// run calls all functions, last first. It continues after errors and joins them.
func (r *rollback) run() error {
	var errs []error
	for _, a := range slices.Backward(r.actions) {
		if err := a.do(); err != nil {
			errs = append(errs, fmt.Errorf("undo %s: %w", a.what, err))
		}
	}
	r.actions = nil
	return errors.Join(errs...)
}
