package sidecar

import "errors"

// errUnknown is the error of an argument with a value that depends on a variable without
// a value.
var errUnknown = errors.New("its value depends on a variable without one")
