package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/docker/distribution/registry/api/errcode"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/signature"
	"go.podman.io/storage"
	"golang.org/x/sys/unix"
)

const (
	pullAttempts  = 4
	firstWait     = 500 * time.Millisecond // doubled each time: 3.5 s in total
	waitMultiple  = 2
	serverErrors  = http.StatusInternalServerError
	unknownStatus = 0
)

// retry calls f up to pullAttempts times until it succeeds or fails permanently, with growing
// delays.
func retry(ctx context.Context, f func() error) error {
	wait := firstWait
	for attempt := 1; ; attempt++ {
		err := f()
		if err == nil || attempt == pullAttempts || !isTransient(err) || ctx.Err() != nil {
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return err
		case <-timer.C:
		}
		wait *= waitMultiple
	}
}

// isTransient reports whether a retry may succeed: the connection broke, or the registry failed. A
// refused connection or an unknown host usually means a wrong name and is reported immediately.
func isTransient(err error) bool {
	if f := (*failure)(nil); errors.As(err, &f) {
		return f.Again
	}
	if status := httpStatus(err); status != unknownStatus {
		return status >= serverErrors
	}
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return dns.IsTemporary || dns.IsTimeout
	}
	for _, again := range []error{
		io.EOF, io.ErrUnexpectedEOF, unix.ECONNRESET, unix.EPIPE, unix.ETIMEDOUT,
		errStalled,
		storage.ErrImageUnknown, // another process collected it between copy and use
	} {
		if errors.Is(err, again) {
			return true
		}
	}
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout() && !errors.Is(err, context.DeadlineExceeded)
}

// httpStatus returns the status that a registry responded with, or unknownStatus.
func httpStatus(err error) int {
	var credentials docker.ErrUnauthorizedForCredentials
	var status docker.UnexpectedHTTPStatusError
	var coded errcode.ErrorCoder
	switch {
	case errors.As(err, &credentials):
		return http.StatusUnauthorized
	case errors.Is(err, docker.ErrTooManyRequests):
		return http.StatusTooManyRequests
	case errors.As(err, &status):
		return status.StatusCode
	case errors.As(err, &coded):
		return coded.ErrorCode().Descriptor().HTTPStatusCode
	}
	return unknownStatus
}

// explain adds the image, its source and advice to an error.
func explain(ref Reference, err error) error {
	if as[*failure](err) {
		return err
	}
	for _, own := range []error{ErrPlatform, ErrClosed, context.Canceled} {
		if errors.Is(err, own) {
			return err
		}
	}
	fix, kind := diagnose(ref, err)
	text := reason(err)
	if fix != "" {
		text += "; " + fix
	}
	if kind != nil {
		return fmt.Errorf("%w: image %q at %s: %s", kind, ref, ref.location(), text)
	}
	return fmt.Errorf("pull image %q from %s: %s%.0w", ref, ref.location(), text, errnoOf(err))
}

// errnoOf returns err's errno, which a caller may check for, without its text.
func errnoOf(err error) error {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno
	}
	if errors.Is(err, ErrInvalidConfig) {
		return ErrInvalidConfig
	}
	return errPull
}

var errPull = errors.New("image pull failed")

// explainPath explains an error of the file that fingerprint reads.
func (r Reference) explainPath(err error) error {
	if err == nil {
		return nil
	}
	return explain(r, err)
}

// diagnose returns the advice and the sentinel error that apply, or neither.
func diagnose(ref Reference, err error) (fix string, kind error) {
	if errors.Is(err, ErrInvalidConfig) {
		return "", nil
	}
	var policy signature.PolicyRequirementError
	var forged signature.InvalidSignatureError
	var dns *net.DNSError
	switch status := httpStatus(err); {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return "check auth { username, password } or the operator's image.auth_file, and that the image exists", ErrUnauthorized
	case status == http.StatusNotFound:
		return "check its name and tag", ErrNotFound
	case errors.As(err, &policy), errors.As(err, &forged):
		return "sign the image or change the policy", ErrRejected
	case errors.Is(err, errTooMuch), errors.Is(err, errURLs):
		return "the registry, or a proxy in front of it, is broken or not trustworthy", ErrInvalidImage
	case errors.Is(err, errStalled):
		return "check that it is reachable and healthy, or raise the pull's activity timeout", ErrPullTimeout
	case errors.Is(err, http.ErrSchemeMismatch):
		return "for a registry without TLS set insecure = true for it in registries.conf", nil
	case errors.Is(err, unix.ECONNREFUSED), errors.As(err, &dns):
		return "check the registry's name and that it runs", nil
	}
	var plain *plainError
	if errors.As(err, &plain) {
		return "", plain.kind
	}
	if ref.path == "" {
		return "", nil
	}
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, unix.ENOTDIR):
		return "put the image there or correct the path", ErrNotFound
	case errors.Is(err, os.ErrPermission), errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EROFS):
		return "", nil // a failure of the host, not of the image
	}
	return "check that it is a complete " + ref.transport + " image", ErrInvalidImage
}
