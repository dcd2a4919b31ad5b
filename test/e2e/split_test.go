package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/matrix"
)

const splitURL = "http://127.0.0.1:9010/"

// divided is a pod with a split between an instance of the stable version and one of the next.
type divided struct {
	*cluster
	client         *http.Client
	stable, canary *backend
}

// TestSplit checks that the weights hold, that header and cookie pin requests, and that the share
// of a version without instances goes to the fallback.
//
// Trap C4: the cookie pins clients of every version.
func TestSplit(t *testing.T) {
	debian(t, "/usr/sbin/haproxy")
	onSharedAgent(t, matrix.Both(), func(c *cluster) {
		alloc := c.runAll(inject(c.t, "testdata/split.nomad.hcl"))
		host := c.gateway(alloc)
		s := &divided{c, c.inPod(alloc, "app"), c.backend("stable", host), c.backend("canary", host)}
		s.services(fmt.Sprintf("api %s current", s.stable.at), fmt.Sprintf("api %s next", s.canary.at))
		for _, version := range []string{"canary", "stable"} {
			c.eventually(version+" answers", func() error {
				if status, body, _ := s.ask("X-Version", version); status != http.StatusOK {
					return fmt.Errorf("%d %s", status, body)
				}
				return nil
			})
		}
		testWeights(s)
		testPins(s)
		testFallback(s)
		c.stop("split", alloc)
	})
}

// ask sends a request with headers and returns the version that answered.
func (s *divided) ask(headers ...string) (status int, version string, header http.Header) {
	s.t.Helper()
	return s.send(s.client, http.MethodGet, splitURL, headers...)
}

// testWeights counts requests without a pin.
func testWeights(s *divided) {
	const n = 400
	versions := map[string]int{}
	for range n {
		status, _, header := s.ask()
		must.Eq(s.t, http.StatusOK, status)
		versions[header.Get("X-Version")]++
	}
	// Of a share of 20 %, six standard deviations.
	must.Between(s.t, n/5-48, versions["canary"], n/5+48)
	must.Eq(s.t, n, versions["canary"]+versions["stable"])
}

// testPins checks the precedence of the header, that the cookie keeps a client at any version, and
// values that name no version.
func testPins(s *divided) {
	for _, version := range []string{"canary", "stable"} {
		for range 20 {
			_, _, header := s.ask("Cookie", "a=b; version="+version)
			must.Eq(s.t, version, header.Get("X-Version"))
			must.Eq(s.t, "", header.Get("Set-Cookie"))
		}
		_, _, header := s.ask("X-Version", version, "Cookie", "version=stable")
		must.Eq(s.t, version, header.Get("X-Version"))
	}
	for _, evil := range []string{"evil", "stable, evil", "canary\" }", "%[env(HOME)]"} {
		status, body, header := s.ask("X-Version", evil, "Cookie", "version=x"+evil)
		must.Eq(s.t, http.StatusOK, status, must.Sprint(evil, body))
		version := header.Get("X-Version")
		must.SliceContains(s.t, []string{"canary", "stable"}, version)
		must.Eq(s.t, "version="+version+"; Path=/; HttpOnly; SameSite=Lax", header.Get("Set-Cookie"))
	}
}

// testFallback removes the canary.
func testFallback(s *divided) {
	s.canary.unhealthy.Store(true)
	s.eventually("pinned requests fail", func() error {
		if status, _, _ := s.ask("X-Version", "canary"); status != http.StatusServiceUnavailable {
			return fmt.Errorf("status is %d", status)
		}
		return nil
	})
	for range 50 {
		status, body, header := s.ask("Cookie", "version=canary")
		must.Eq(s.t, http.StatusOK, status)
		must.Eq(s.t, "stable", body)
		must.Eq(s.t, "", header.Get("Set-Cookie"), must.Sprint("the client keeps its version"))
		status, body, _ = s.ask()
		must.Eq(s.t, http.StatusOK, status)
		must.Eq(s.t, "stable", body)
	}
	s.canary.unhealthy.Store(false)
	s.eventually("the canary answers again", func() error {
		if _, body, _ := s.ask("Cookie", "version=canary"); !strings.HasPrefix(body, "canary") {
			return fmt.Errorf("answer is %q", body)
		}
		return nil
	})
}
