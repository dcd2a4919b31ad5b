package target

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"strings"
	"syscall"
)

// Reason is why something does not answer: where to look for the mistake.
type Reason string

const (
	// Unresolved is a name without an address.
	Unresolved Reason = "unresolved"
	// Refused is an address where nothing listens.
	Refused Reason = "refused"
	// Unreachable is an address that no route leads to.
	Unreachable Reason = "unreachable"
	// TimedOut is an address from which nothing came within the time given.
	TimedOut Reason = "timed out"
	// Untrusted is a server whose certificate is not good.
	Untrusted Reason = "untrusted"
	// Status is an HTTP server that answers, with another status.
	Status Reason = "status"
	// Missing is a file that is not there.
	Missing Reason = "missing"
	// Failed is anything else.
	Failed Reason = "failed"
)

// Error is why a target did not answer.
type Error struct {
	Reason Reason
	Err    error
}

// Error begins with the reason.
func (e *Error) Error() string { return string(e.Reason) + ": " + e.Err.Error() }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

type statusError struct {
	got    string
	wanted []int
}

func (e *statusError) Error() string {
	if len(e.wanted) == 0 {
		return fmt.Sprintf("it answers %s, and any 2xx is waited for", e.got)
	}
	return fmt.Sprintf("it answers %s, and %s is waited for", e.got, strings.Trim(strings.Join(strings.Fields(fmt.Sprint(e.wanted)), " or "), "[]"))
}

// explain finds the reason, but for the end of a context. A name that a look-up could not find in time is
// unresolved, too: it is there that the mistake is.
func explain(err error) *Error {
	var (
		lookup      *net.DNSError
		certificate *tls.CertificateVerificationError
		status      *statusError
		request     *url.Error
	)
	if errors.As(err, &request) {
		err = request.Err // it repeats the address, with what it has of secrets
	}
	reason := Failed
	switch {
	case errors.As(err, &lookup):
		reason = Unresolved
	case errors.Is(err, syscall.ECONNREFUSED):
		reason = Refused
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		reason = Unreachable
	case errors.As(err, &certificate):
		reason = Untrusted
	case errors.As(err, &status):
		reason = Status
	case errors.Is(err, syscall.ETIMEDOUT):
		reason = TimedOut
	case errors.Is(err, fs.ErrNotExist):
		reason = Missing
	}
	return &Error{reason, err}
}
