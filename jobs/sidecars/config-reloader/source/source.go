// Package source gets the text that a configuration is made of: by HTTP or
// from a file.
//
// It does not try again, and does not know what the text is for.
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
	// MaxBytes bounds a text: what is larger is no configuration.
	MaxBytes = 4 << 20

	requestTimeout = 15 * time.Second
)

// Source gives a text as it is now.
type Source interface {
	Get(ctx context.Context) ([]byte, error)
}

// Open is the source of an address: http://, https://, or an absolute path.
// The headers go with each request.
func Open(address string, headers http.Header) (Source, error) {
	if filepath.IsAbs(address) {
		return file(address), nil
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		// What is wrong with it is not shown: it may hold a password.
		return nil, errors.New("want an absolute path, or a URL such as https://config.example.com/web.conf")
	}
	// The next request is far away: a connection is not kept for it.
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, TLSHandshakeTimeout: requestTimeout}
	return &web{address: u, headers: headers, client: &http.Client{Timeout: requestTimeout, Transport: transport}}, nil
}

// file is read anew each time: that costs less than to be wrong about what has
// changed.
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

// web remembers the last answer with its validators (RFC 9110, section 8.8),
// and asks whether there is another one.
type web struct {
	address *url.URL
	headers http.Header
	client  *http.Client

	tag, modified string
	last          []byte // nil before the first answer
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
			err = e.Err // without the address and a password in it
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
	// An answer that breaks off is an error: net/http compares with its
	// length, or sees that the last chunk is missing.
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
