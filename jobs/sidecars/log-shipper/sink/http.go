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
	// requestTimeout bounds a request including its response.
	requestTimeout = 30 * time.Second

	// answerBytes bounds how much of a response is read: to reuse the connection, or
	// to show the error.
	answerBytes = 64 << 10
	shownBytes  = 200
)

// HTTP posts batches to a URL.
type HTTP struct {
	url    string
	header http.Header
	client *http.Client
}

// NewHTTP returns a sink for a URL. The extra headers are added to the content type
// and the batch's ID.
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
			// A redirect may turn a POST into a GET. Its success would look like delivery of
			// the batch.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// Send posts a batch. Any 2xx status means that it has arrived; the body is
// ignored. The ID is sent as Idempotency-Key.
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
	answer, _ := io.ReadAll(io.LimitReader(response.Body, answerBytes)) // the status is what counts
	switch code := response.StatusCode; {
	case code/100 == 2:
		return nil
	case code/100 == 3:
		return fmt.Errorf("%s: redirects are not followed: set the address that it leads to", response.Status)
	}
	err = fmt.Errorf("%s: %q", response.Status, shorten(strings.TrimSpace(string(answer))))
	if seconds, e := strconv.Atoi(response.Header.Get("Retry-After")); e == nil && seconds > 0 {
		return &LaterError{time.Duration(seconds) * time.Second, err}
	}
	return err
}

// withoutURL strips the URL of a url.Error, since it may contain a password.
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
