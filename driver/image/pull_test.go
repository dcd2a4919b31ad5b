package image_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
)

func TestEnsure_Authorization(t *testing.T) {
	h, hub := hubHome(t)
	hub.set(func() { hub.user, hub.password = "ann", "right" })
	hub.push(t, "secret/app:1", hello(t, "secret"))
	h.conf.AuthFile = filepath.Join(t.TempDir(), "auth.json")
	must.NoError(t, os.WriteFile(h.conf.AuthFile, []byte("{}"), 0o600))
	s := h.open(t)
	ref := parse(t, hub.ref("secret/app:1"))
	for _, o := range []image.PullOptions{{}, {Username: "ann", Password: "wr0ng-secret"}} {
		_, err := s.Ensure(testContext(t), ref, o)
		must.ErrorIs(t, err, image.ErrUnauthorized)
		must.StrContains(t, err.Error(), ref.String())
		must.StrContains(t, err.Error(), "registry "+hub.host)
		must.StrContains(t, err.Error(), "auth {")
		must.StrNotContains(t, err.Error(), "wr0ng-secret")
	}
	img, err := s.Ensure(testContext(t), ref, image.PullOptions{Username: "ann", Password: "right"})
	must.NoError(t, err)
	must.Eq(t, "secret", contents(t, mount(t, s, "c", img), "etc/hello"))

	// The credentials come from the auth file; PullAlways contacts the registry again.
	must.NoError(t, os.WriteFile(h.conf.AuthFile,
		[]byte(`{"auths":{"`+hub.host+`":{"auth":"YW5uOnJpZ2h0"}}}`), 0o600))
	_, err = s.Ensure(testContext(t), ref, image.PullOptions{Policy: image.PullAlways})
	must.NoError(t, err)
}

func TestEnsure_ConnectionDropped(t *testing.T) {
	for _, kind := range []string{"/v2/", "/manifests/", "/blobs/"} {
		t.Run(kind, func(t *testing.T) {
			h, hub := hubHome(t)
			hub.push(t, "app:1", hello(t, "again"))
			var dropped atomic.Int32
			hub.set(func() {
				hub.intercept = func(w http.ResponseWriter, r *http.Request) bool {
					// Twice, because net/http itself retries a request on a reused connection.
					if strings.Contains(r.URL.Path, kind) && dropped.Add(1) <= 2 {
						panic(http.ErrAbortHandler)
					}
					return false
				}
			})
			s := h.open(t)
			img := ensure(t, s, hub.ref("app:1"), image.PullOptions{})
			must.Eq(t, "again", contents(t, mount(t, s, "c", img), "etc/hello"))
			must.Greater(t, 2, dropped.Load())
		})
	}
}

// The connection breaks once, in the middle of a layer.
func TestEnsure_LayerBroken(t *testing.T) {
	h, hub := hubHome(t)
	whole := bytesLayer(t, 1<<20)
	hub.push(t, "app:1", build(t, "amd64", whole))
	var broken atomic.Int32
	halfway(t, hub, whole, func(*http.Request) {
		if broken.Add(1) == 1 {
			hub.set(func() { hub.intercept = nil })
		}
		panic(http.ErrAbortHandler)
	})
	s := h.open(t)
	mount(t, s, "c", ensure(t, s, hub.ref("app:1"), image.PullOptions{}))
	must.Eq(t, 1, broken.Load())
}

// If the registry never recovers, the pull fails and the error names it.
func TestEnsure_RegistryDown(t *testing.T) {
	h, hub := hubHome(t)
	hub.push(t, "app:1", hello(t, "x"))
	var asked atomic.Int32
	hub.set(func() {
		hub.intercept = func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/manifests/") {
				return false
			}
			asked.Add(1)
			w.WriteHeader(http.StatusBadGateway)
			return true
		}
	})
	s := h.open(t)
	_, err := s.Ensure(testContext(t), parse(t, hub.ref("app:1")), image.PullOptions{})
	must.StrContains(t, err.Error(), hub.ref("app:1"))
	must.StrContains(t, err.Error(), "502")
	must.Eq(t, 4, asked.Load())
}

// stalled are the layer requests that a hub leaves unanswered.
type stalled struct {
	begun, abandoned chan struct{} // one value per request
	release          func()        // releases these and all later requests
}

func stall(t *testing.T, hub *hub) stalled {
	t.Helper()
	free := make(chan struct{})
	s := stalled{make(chan struct{}, 100), make(chan struct{}, 100), sync.OnceFunc(func() { close(free) })}
	t.Cleanup(s.release)
	hub.set(func() {
		hub.intercept = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/") {
				return false
			}
			s.begun <- struct{}{}
			select {
			case <-free:
				return false
			case <-r.Context().Done():
				s.abandoned <- struct{}{}
				return true
			}
		}
	})
	return s
}

func TestEnsure_Timeout(t *testing.T) {
	h, hub := hubHome(t)
	hub.push(t, "app:1", hello(t, "x"))
	stall(t, hub)
	s := h.open(t)
	_, err := s.Ensure(testContext(t), parse(t, hub.ref("app:1")), image.PullOptions{Timeout: 200 * time.Millisecond})
	must.ErrorIs(t, err, image.ErrPullTimeout)
	must.StrContains(t, err.Error(), hub.ref("app:1"))
	must.StrContains(t, err.Error(), "registry "+hub.host)
	must.StrContains(t, err.Error(), "200ms")
}

// A pull is retried if the registry accepts the request and then sends nothing.
func TestEnsure_StallRetried(t *testing.T) {
	h, hub := hubHome(t)
	hub.push(t, "app:1", hello(t, "x"))
	stalled := stall(t, hub)
	h.conf.PullIdleTimeout = 2 * time.Second
	s := h.open(t)
	result := make(chan error, 1)
	go func() {
		_, err := s.Ensure(testContext(t), parse(t, hub.ref("app:1")), image.PullOptions{})
		result <- err
	}()
	<-stalled.begun
	<-stalled.abandoned
	<-stalled.begun // the second attempt
	stalled.release()
	must.NoError(t, <-result)
}

func TestEnsure_StallFinal(t *testing.T) {
	h, hub := hubHome(t)
	hub.push(t, "app:1", hello(t, "x"))
	stall(t, hub)
	h.conf.PullIdleTimeout = 50 * time.Millisecond
	s := h.open(t)
	_, err := s.Ensure(testContext(t), parse(t, hub.ref("app:1")), image.PullOptions{})
	must.ErrorIs(t, err, image.ErrPullTimeout)
	must.StrContains(t, err.Error(), hub.ref("app:1"))
	must.StrContains(t, err.Error(), "registry "+hub.host)
	must.StrContains(t, err.Error(), "no data arrived for 50ms")
}

// The caller that started a pull may leave; the others still get the image. When the last caller
// leaves, the pull stops.
func TestEnsure_Cancelled(t *testing.T) {
	h, hub := hubHome(t)
	hub.push(t, "app:1", hello(t, "x"))
	stalled := stall(t, hub)
	s := h.open(t)
	ref := parse(t, hub.ref("app:1"))
	results := make(chan error, 2)
	call := func(ctx context.Context) {
		_, err := s.Ensure(ctx, ref, image.PullOptions{})
		results <- err
	}
	first, cancelFirst := context.WithCancel(testContext(t))
	second, cancelSecond := context.WithCancel(testContext(t))
	defer cancelSecond()
	var callers sync.WaitGroup
	defer callers.Wait()
	callers.Go(func() { call(first) })
	<-stalled.begun
	callers.Go(func() { call(second) })
	cancelFirst()
	must.ErrorIs(t, <-results, context.Canceled)
	stalled.release()
	must.NoError(t, <-results)

	hub.push(t, "app:1", hello(t, "y"))
	stalled = stall(t, hub)
	callers.Go(func() {
		_, err := s.Ensure(second, ref, image.PullOptions{Policy: image.PullAlways})
		results <- err
	})
	<-stalled.begun
	cancelSecond()
	must.ErrorIs(t, <-results, context.Canceled)
	select {
	case <-stalled.abandoned:
	case <-testContext(t).Done():
		t.Fatal("pull did not stop after its last caller left")
	}
}

func TestClose_EndsPulls(t *testing.T) {
	h, hub := hubHome(t)
	hub.push(t, "app:1", hello(t, "x"))
	stalled := stall(t, hub)
	s := h.open(t)
	result := make(chan error, 1)
	go func() {
		_, err := s.Ensure(context.Background(), parse(t, hub.ref("app:1")), image.PullOptions{})
		result <- err
	}()
	<-stalled.begun
	must.NoError(t, s.Close())
	must.ErrorIs(t, <-result, image.ErrClosed)
	_, err := s.Containers(testContext(t))
	must.ErrorIs(t, err, image.ErrClosed)
	must.NoError(t, s.Close())
}
