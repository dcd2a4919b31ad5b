package image

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"unicode"

	"go.podman.io/image/v5/signature"
	"golang.org/x/sys/unix"
)

// maxReasonBytes limits the text of another error that an error repeats.
const maxReasonBytes = 512

// reason returns the cause of a failed pull. The libraries' errors quote data they read, such as
// a file or the response of any host the registry redirected to, so reason repeats only texts
// that cannot contain such data.
func reason(err error) string {
	var plain *plainError
	if errors.As(err, &plain) {
		return plain.text
	}
	if status := httpStatus(err); status != unknownStatus {
		return strings.TrimSpace(fmt.Sprintf("the registry answered %d %s", status, http.StatusText(status)))
	}
	for _, own := range []error{errTooMuch, errStalled, ErrInvalidConfig, ErrClosed, errURLs} {
		if errors.Is(err, own) {
			return printable(err.Error())
		}
	}
	var address *url.Error
	if errors.As(err, &address) {
		err = address.Err // its URL may be a redirect target of the registry
	}
	for _, repeats := range []func(error) bool{
		as[signature.PolicyRequirementError], as[signature.InvalidSignatureError],
		as[*tls.CertificateVerificationError], as[x509.UnknownAuthorityError], as[tls.RecordHeaderError],
		as[*net.DNSError], as[*net.OpError],
	} {
		if repeats(err) {
			return printable(err.Error())
		}
	}
	return reasonByText(err)
}

func as[T error](err error) bool {
	var target T
	return errors.As(err, &target)
}

// knownTexts matches errors without a type of their own; the texts contain no data.
var knownTexts = regexp.MustCompile(`no space left on device|read-only file system|` +
	`(StatusCode: |status code from registry )\d{3}|exceeded maximum allowed size of \d+ bytes|` +
	`[Dd]igest did not match, expected [a-z0-9]+:[0-9a-f]+, got [a-z0-9]+:[0-9a-f]+`)

// diffIDText matches the error about a layer with another content than the config lists.
var diffIDText = regexp.MustCompile(`layer (\d+) \(blob .* does not match config's DiffID`)

// fieldName matches the names of a manifest's or config's fields that are repeated in errors.
var fieldName = regexp.MustCompile(`^[A-Za-z0-9_.]{1,64}$`)

// notJSON describes an error of decoding JSON, or returns "".
func notJSON(err error) string {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return "its manifest or config, or an answer of the registry, is not JSON"
	case errors.As(err, &kind) && fieldName.MatchString(kind.Field):
		have, _, _ := strings.Cut(kind.Value, " ") // without the number
		return fmt.Sprintf("its manifest or config has the wrong type at %s: JSON %s", kind.Field, have)
	case errors.As(err, &kind):
		return "its manifest or config has a field of the wrong type"
	}
	return ""
}

func reasonByText(err error) string {
	var errno unix.Errno
	if text := notJSON(err); text != "" {
		return text
	}
	if layer := diffIDText.FindStringSubmatch(err.Error()); layer != nil {
		return "the content of layer " + layer[1] + ", counted from 0, does not match its diff_id in the config"
	}
	switch text := knownTexts.FindString(err.Error()); {
	case text != "":
		return text
	case errors.As(err, &errno):
		return errno.Error()
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "it was cancelled"
	case errors.Is(err, http.ErrSchemeMismatch):
		return http.ErrSchemeMismatch.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the data ends early"
	}
	return "its manifest, config or a layer cannot be read"
}

// printable returns text on one line without control characters, cut to maxReasonBytes.
func printable(text string) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	if len(text) > maxReasonBytes {
		text = strings.ToValidUTF8(text[:maxReasonBytes], "") + "…"
	}
	return text
}
