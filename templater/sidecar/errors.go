package sidecar

import "errors"

// errUnknown is the error of an argument whose value depends on something that has
// no value yet.
var errUnknown = errors.New("its value depends on a variable without one")
