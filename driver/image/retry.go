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
	firstWait     = 500 * time.Millisecond // doubled each time: 3.5 s in all
	waitMultiple  = 2
	serverErrors  = http.StatusInternalServerError
	unknownStatus = 0
)

// retry calls f until it succeeds, fails for good or was called pullAttempts
// times, waiting longer each time.
func retry(ctx context.Context, f func() error) error {
	wait := firstWait
	for attempt := 1; ; attempt++ {
		err := f()
		if err == nil || attempt == pullAttempts || !passing(err) || ctx.Err() != nil {
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

// passing says whether the same request may succeed a moment later: the
// connection broke, or the registry has trouble. A refused connection or an
// unknown host is rather a wrong name, and is reported at once.
func passing(err error) bool {
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

// httpStatus is the status a registry answered with, or unknownStatus.
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

// explain says of which image, from where, what went wrong and how to fix it.
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
		return fmt.Errorf("%w: image %q at %s: %s", kind, ref, ref.place(), text)
	}
	return fmt.Errorf("pull image %q from %s: %s%.0w", ref, ref.place(), text, errnoOf(err))
}

// errnoOf keeps what a caller may check for, without the text.
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

// explainPath is for the file that the store's name of an image is made from.
func (r Reference) explainPath(err error) error {
	if err == nil {
		return nil
	}
	return explain(r, err)
}

// diagnose gives the advice and the sentinel that fit, or neither.
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
		return "the registry, or what is before it, is broken or not to be trusted", ErrInvalidImage
	case errors.Is(err, errStalled):
		return "check that it is reachable and well, or raise the pull's activity timeout", ErrPullTimeout
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
		return "", nil // the host's trouble, not the image's
	}
	return "check that it is a whole " + ref.transport + " image", ErrInvalidImage
}
