// Package source reads the text of a configuration over HTTP or from a file.
//
// It does not retry and does not interpret the text.
package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

const (
	// MaxBytes bounds a text.
	MaxBytes = 4 << 20

	requestTimeout = 15 * time.Second
)

// Source returns the current text.
type Source interface {
	Get(ctx context.Context) ([]byte, error)
}

// Open returns the source at an address: http://, https://, or an absolute path.
// Headers are sent with each request.
func Open(address string, headers http.Header) (Source, error) {
	if filepath.IsAbs(address) {
		return file(address), nil
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		// The parse error is omitted since it may contain a password.
		return nil, errors.New("want an absolute path, or a URL such as https://config.example.com/web.conf")
	}
	// Requests are rare, so connections are not kept.
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, TLSHandshakeTimeout: requestTimeout}
	return &web{address: u, headers: headers, client: &http.Client{Timeout: requestTimeout, Transport: transport}}, nil
}

// file is read each time, which is cheaper than detecting changes wrongly.
type file string

func (f file) Get(context.Context) ([]byte, error) {
	opened, err := os.Open(string(f))
	if err != nil {
		return nil, err
	}
	defer opened.Close()
	info, err := opened.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", f)
	}
	return read(opened, string(f))
}

func read(from io.Reader, name string) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(from, MaxBytes+1))
	if err != nil {
		return nil, err
	}
	if len(text) > MaxBytes {
		return nil, fmt.Errorf("%s has more than %d bytes", name, MaxBytes)
	}
	return text, nil
}

// web sends conditional requests with the validators of the last response
// (RFC 9110, section 8.8).
type web struct {
	address *url.URL
	headers http.Header
	client  *http.Client

	tag, modified string
	last          []byte // nil before the first response
}

func (w *web) Get(ctx context.Context) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.address.String(), nil)
	if err != nil {
		return nil, err
	}
	if w.headers != nil {
		request.Header = w.headers.Clone()
	}
	if w.last != nil {
		set(request.Header, "If-None-Match", w.tag)
		set(request.Header, "If-Modified-Since", w.modified)
	}
	response, err := w.client.Do(request)
	if err != nil {
		if e := new(url.Error); errors.As(err, &e) {
			err = e.Err // url.Error contains the address with its password
		}
		return nil, fmt.Errorf("get %s: %w", w.address.Redacted(), err)
	}
	defer response.Body.Close()
	switch {
	case response.StatusCode == http.StatusNotModified && w.last != nil:
		return w.last, nil
	case response.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("get %s: %s", w.address.Redacted(), response.Status)
	}
	// A truncated response is an error: net/http checks the content length and the
	// last chunk.
	text, err := read(response.Body, "the answer")
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", w.address.Redacted(), err)
	}
	w.last, w.tag, w.modified = text, response.Header.Get("ETag"), response.Header.Get("Last-Modified")
	return text, nil
}

func set(header http.Header, name, value string) {
	if value != "" {
		header.Set(name, value)
	}
}
