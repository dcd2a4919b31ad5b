package catalog

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// fetcher fetches the definitions of one catalog.
type fetcher struct {
	address Address
	// pinned is the commit, manifest or archive to fetch; "" for the current one. If it
	// is gone, the address is resolved again.
	pinned  string
	environ []string
	tell    func(read, total int64)
}

// fetch returns the definitions and their origin: a commit, or the digest of a
// manifest or archive.
func (f *fetcher) fetch(ctx context.Context) (Files, string, error) {
	get := map[Kind]func(context.Context) (Files, string, error){Git: f.git, Archive: f.archive, OCI: f.oci}[f.address.Kind]
	files, origin, err := get(ctx)
	switch cause := context.Cause(ctx); {
	case err == nil:
	case errors.Is(cause, context.Canceled):
		err = errors.New("interrupted")
	case cause != nil:
		err = cause // clearer than the error that followed from it
	}
	return files, origin, f.address.scrub(err)
}

// client returns an HTTP client that honours HTTPS_PROXY, SSL_CERT_FILE and SSL_CERT_DIR.
func client() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableKeepAlives = true // so that no connection outlives the fetch
	return &http.Client{Transport: encrypted{transport}}
}

// encrypted refuses plain HTTP to other machines, redirects included.
type encrypted struct{ next http.RoundTripper }

func (e encrypted) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := mustEncrypt(r.URL); err != nil {
		return nil, err
	}
	return e.next.RoundTrip(r)
}

func (f *fetcher) picker() *picker { return &picker{folder: f.address.folder, files: Files{}} }

func missing(program string, err error) error {
	return fmt.Errorf("%s is needed for this address: %w. Install it, or put it on PATH", program, err)
}
