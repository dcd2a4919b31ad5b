package target

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
)

// Reason classifies why a target does not answer.
type Reason string

const (
	// Unresolved means that the name has no address.
	Unresolved Reason = "unresolved"
	// Refused means that no process listens on the address.
	Refused Reason = "refused"
	// Unreachable means that there is no route to the address.
	Unreachable Reason = "unreachable"
	// TimedOut means that no answer arrived in time.
	TimedOut Reason = "timed out"
	// Untrusted means that the server's certificate is invalid.
	Untrusted Reason = "untrusted"
	// Status means that the HTTP server answered with another status.
	Status Reason = "status"
	// Missing means that the file does not exist.
	Missing Reason = "missing"
	// Failed is any other error.
	Failed Reason = "failed"
)

// Error is the reason why a target did not answer.
type Error struct {
	Reason Reason
	Err    error
}

// Error returns the reason and its cause.
func (e *Error) Error() string { return string(e.Reason) + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

type statusError struct {
	got    string
	wanted []int
}

func (e *statusError) Error() string {
	if len(e.wanted) == 0 {
		return fmt.Sprintf("it returns %s instead of 2xx", e.got)
	}
	return fmt.Sprintf("it returns %s instead of %s", e.got, strings.Trim(strings.Join(strings.Fields(fmt.Sprint(e.wanted)), " or "), "[]"))
}

// explain classifies an error. A name lookup that times out is Unresolved as well,
// since the name is the likely mistake. Context errors are not classified.
func explain(err error) *Error {
	var (
		lookup      *net.DNSError
		certificate *tls.CertificateVerificationError
		status      *statusError
		request     *url.Error
	)
	if errors.As(err, &request) {
		err = request.Err // url.Error repeats the address, including its password
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
	case errors.Is(err, syscall.ETIMEDOUT), errors.Is(err, os.ErrDeadlineExceeded):
		reason = TimedOut
	case errors.Is(err, fs.ErrNotExist):
		reason = Missing
	}
	return &Error{reason, err}
}
