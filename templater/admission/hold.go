package admission

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// longestWait limits the wait of a blocking query. If its client leaves, Nomad keeps the
	// connection until the wait has passed.
	longestWait = 10 * time.Second
	// longestRequest limits a request after its client has left: Nomad's longest blocking query,
	// ten minutes and a sixteenth, and some time to respond (nomad/blockingrpc.go).
	longestRequest = 11 * time.Minute
)

// hold keeps a request's slot while its handler or Nomad is working on it.
type hold struct {
	users atomic.Int32
	free  func() // nil before the request has a slot
}

type holdKey struct{}

// holding returns r with a hold. The caller must call release once.
func holding(r *http.Request) (*http.Request, *hold) {
	h := &hold{}
	h.users.Store(1)
	return r.WithContext(context.WithValue(r.Context(), holdKey{}, h)), h
}

func (h *hold) release() {
	if h.users.Add(-1) == 0 && h.free != nil {
		h.free()
	}
}

// lasting is a transport that returns when the client leaves, but keeps the hold until Nomad has
// responded. Nomad finishes most requests without their client, and counts the connection until
// then; a client that opens requests and leaves would otherwise get more connections than its
// limit.
type lasting struct{ next http.RoundTripper }

func (l lasting) RoundTrip(r *http.Request) (*http.Response, error) {
	h, ok := r.Context().Value(holdKey{}).(*hold)
	if !ok || endsWithClient(r.URL.Path) {
		return l.next.RoundTrip(r)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	at := &exchange{hold: h, cancel: cancel, sent: make(chan struct{}), ended: make(chan struct{})}
	h.users.Add(1)
	go at.run(l.next, r.WithContext(ctx))
	select {
	case <-at.ended:
	case <-r.Context().Done():
		select {
		case <-at.sent:
			go at.abandon()
			return nil, r.Context().Err()
		case <-at.ended: // with the error of the body, which says why
		case <-time.After(lateTime):
			cancel() // Nomad ends a request without the rest of its body
			<-at.ended
		}
	}
	h.release()
	context.AfterFunc(r.Context(), cancel) // the response's body
	return at.resp, at.err
}

// exchange is a request at Nomad that may outlast its client.
type exchange struct {
	hold   *hold
	cancel context.CancelFunc
	sent   chan struct{} // closed at the end of the request's body
	ended  chan struct{}
	resp   *http.Response
	err    error
}

func (e *exchange) run(next http.RoundTripper, r *http.Request) {
	defer close(e.ended)
	sent := sync.OnceFunc(func() { close(e.sent) })
	if r.Body == nil || r.Body == http.NoBody {
		sent()
	} else {
		r.Body = &sending{r.Body, sent}
	}
	e.resp, e.err = next.RoundTrip(r)
}

// abandon waits for a response that has no client.
func (e *exchange) abandon() {
	limit := time.AfterFunc(longestRequest, e.cancel)
	<-e.ended
	limit.Stop()
	e.cancel()
	if e.err == nil {
		_ = e.resp.Body.Close() // unread, which closes the connection
	}
	e.hold.release()
}

// sending calls sent at the end of a request's body.
type sending struct {
	io.ReadCloser
	sent func()
}

func (s *sending) Read(to []byte) (int, error) {
	n, err := s.ReadCloser.Read(to)
	if errors.Is(err, io.EOF) {
		s.sent()
	}
	return n, err
}

// endsWithClient reports whether Nomad ends the requests at a path when their client leaves.
func endsWithClient(path string) bool {
	return path == "/v1/event/stream" || strings.HasPrefix(path, "/v1/agent/monitor") ||
		strings.HasPrefix(path, "/v1/client/fs/") ||
		strings.HasPrefix(path, "/v1/client/allocation/") && strings.HasSuffix(path, "/exec") ||
		strings.HasPrefix(path, "/v1/job/") && strings.HasSuffix(path, "/action")
}

// shortenWait returns a raw query with a wait of at most longestWait if it is a blocking query.
// Without a wait, Nomad would wait five minutes; it ignores the wait of other queries and refuses
// one that it cannot parse (command/agent/http.go, parseWait).
func shortenWait(raw string) string {
	query, _ := url.ParseQuery(raw) // like Nomad, without the malformed parts
	if index, err := strconv.ParseUint(query.Get("index"), 10, 64); err != nil || index == 0 {
		return raw
	}
	if text := query.Get("wait"); text != "" {
		wait, err := time.ParseDuration(text)
		if err != nil || wait > 0 && wait <= longestWait {
			return raw
		}
	}
	var kept []string
	for pair := range strings.SplitSeq(raw, "&") {
		name, _, _ := strings.Cut(pair, "=")
		if name, err := url.QueryUnescape(name); err != nil || name != "wait" {
			kept = append(kept, pair)
		}
	}
	return strings.Join(append(kept, "wait="+longestWait.String()), "&")
}
