package e2e

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/matrix"
)

// call sends a request with a client's key to a port of the host.
func (c *cluster) call(port int, key string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(c.ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/", port), nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("X-Api-Key", key)
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		return nil, err
	}
	return response, response.Body.Close()
}

// burst sends twice as many requests as a burst allows, and returns how many passed and how long
// they took.
func (c *cluster) burst(port int, key string) (passed int, last *http.Response, took time.Duration, err error) {
	began := time.Now()
	for range 10 {
		if last, err = c.call(port, key); err != nil {
			return 0, nil, 0, err
		}
		switch last.StatusCode {
		case http.StatusOK:
			passed++
		case http.StatusTooManyRequests:
		default:
			return 0, nil, 0, fmt.Errorf("response is %s", last.Status)
		}
	}
	return passed, last, time.Since(began), nil
}

// TestRateLimit checks that exactly the allowed requests of a burst pass, more pass later, and
// another client's pass immediately.
func TestRateLimit(t *testing.T) {
	program(t, "rate-limit")
	onSharedAgent(t, matrix.One(), func(c *cluster) {
		alloc, err := c.RunJob(c.ctx, inject(c.t, "testdata/rate-limit.nomad.hcl"))
		must.NoError(c.t, err)
		ctx, cancel := context.WithTimeout(c.ctx, maxWait)
		defer cancel()
		alloc, err = c.WaitRunning(ctx, alloc.ID)
		must.NoError(c.t, err)
		at := port(c.t, alloc, "rate-limit")
		c.eventually("the application answers", func() error {
			response, err := c.call(at, "first")
			if err == nil && response.StatusCode != http.StatusOK {
				err = fmt.Errorf("%s", response.Status)
			}
			return err
		})

		var key string
		var refused *http.Response
		tries, passedBefore := 0, c.scrape(port(c.t, alloc, "rate-limit-admin"))[`rate_limit_requests_total{result="passed"}`]
		c.eventually("a burst is faster than the bucket fills", func() error {
			tries++
			key = fmt.Sprint("burst-", tries)
			passed, last, took, err := c.burst(at, key)
			if err == nil && took >= 5*time.Second {
				err = fmt.Errorf("took %s", took)
			}
			if err != nil {
				return err
			}
			must.Eq(c.t, 5, passed)
			refused = last
			return nil
		})
		must.Eq(c.t, http.StatusTooManyRequests, refused.StatusCode)
		must.RegexMatch(c.t, regexp.MustCompile("^[1-5]$"), refused.Header.Get("Retry-After"))
		must.Eq(c.t, `"client";q=5;w=25`, refused.Header.Get("RateLimit-Policy"))
		must.StrHasPrefix(c.t, `"client";r=0;t=2`, refused.Header.Get("RateLimit"))

		other, err := c.call(at, "other")
		must.NoError(c.t, err)
		must.Eq(c.t, http.StatusOK, other.StatusCode, must.Sprint("response to another client"))
		c.eventually("the bucket has a token again", func() error {
			response, err := c.call(at, key)
			if err == nil && response.StatusCode != http.StatusOK {
				err = fmt.Errorf("%s, after %s s", response.Status, response.Header.Get("Retry-After"))
			}
			return err
		})
		after := c.scrape(port(c.t, alloc, "rate-limit-admin"))
		must.GreaterEq(c.t, passedBefore+7, after[`rate_limit_requests_total{result="passed"}`])
		must.GreaterEq(c.t, 5, after[`rate_limit_requests_total{result="client"}`])
	})
}
