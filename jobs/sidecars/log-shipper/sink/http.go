package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// requestTimeout is for one request with its answer.
	requestTimeout = 30 * time.Second

	// answerBytes is how much of an answer is read: of a good one so that the
	// connection can be used again, of a bad one to show it.
	answerBytes = 64 << 10
	shownBytes  = 200
)

// HTTP posts batches.
type HTTP struct {
	url    string
	header http.Header
	client *http.Client
}

// NewHTTP posts to a URL, with headers added to those that say what the
// content is and which batch it is.
func NewHTTP(target *url.URL, contentType string, extra http.Header) *HTTP {
	header := extra.Clone()
	if header == nil {
		header = http.Header{}
	}
	header.Set("Content-Type", contentType)
	return &HTTP{
		url:    target.String(),
		header: header,
		client: &http.Client{
			Timeout:   requestTimeout,
			Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConns: 1, IdleConnTimeout: time.Minute, TLSHandshakeTimeout: 10 * time.Second},
			// A POST may be turned into a GET on the way, whose answer would
			// look as if the batch had arrived.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// Send posts a batch. Any status of 2xx says that it has arrived, whatever is
// in the answer. The ID is sent as Idempotency-Key.
func (h *HTTP) Send(ctx context.Context, b Batch) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url, bytes.NewReader(b.Body))
	if err != nil {
		return err
	}
	request.Header = h.header.Clone()
	request.Header.Set("Idempotency-Key", b.ID)
	response, err := h.client.Do(request)
	if err != nil {
		return withoutURL(err)
	}
	defer response.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(response.Body, answerBytes)) // the status has decided
	switch code := response.StatusCode; {
	case code/100 == 2:
		return nil
	case code/100 == 3:
		return fmt.Errorf("%s: redirects are not followed: name the address it leads to", response.Status)
	}
	err = fmt.Errorf("%s: %q", response.Status, shorten(strings.TrimSpace(string(answer))))
	if seconds, e := strconv.Atoi(response.Header.Get("Retry-After")); e == nil && seconds > 0 {
		return &LaterError{time.Duration(seconds) * time.Second, err}
	}
	return err
}

// withoutURL leaves out what may hold a password.
func withoutURL(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

func shorten(s string) string {
	if len(s) > shownBytes {
		return s[:shownBytes] + "…"
	}
	return s
}

// Close closes the connection.
func (h *HTTP) Close() error {
	h.client.CloseIdleConnections()
	return nil
}
