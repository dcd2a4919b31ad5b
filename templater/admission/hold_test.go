package admission

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater/limit"
)

func TestShortenWait(t *testing.T) {
	for raw, want := range map[string]string{
		"":                                "",
		"wait=5m":                         "wait=5m",
		"index=0&wait=5m":                 "index=0&wait=5m",
		"index=7":                         "index=7&wait=10s",
		"%69ndex=7&prefix=a%20b":          "%69ndex=7&prefix=a%20b&wait=10s",
		"wait=5m&index=7&stale":           "index=7&stale&wait=10s",
		"index=7&wait=2s":                 "index=7&wait=2s",
		"index=7&wait=10s&namespace=%2A":  "index=7&wait=10s&namespace=%2A",
		"index=7&wait=-1s":                "index=7&wait=10s",
		"index=7&wait=0s":                 "index=7&wait=10s",
		"index=7&wait=2s&wait=10m":        "index=7&wait=2s&wait=10m", // Nomad uses the first
		"index=7&wait=10m&w%61it=2s":      "index=7&wait=10s",
		"index=7&wait=":                   "index=7&wait=10s",
		"index=7&wait=soon":               "index=7&wait=soon", // refused by Nomad
		"index=x":                         "index=x",
		"index=7;wait=2s":                 "index=7;wait=2s", // ignored by Nomad
		"index=7&b;wait=1s":               "index=7&b;wait=1s&wait=10s",
		"wait=1s;&wait=9m&index=7":        "index=7&wait=10s",
		"index=18446744073709551615":      "index=18446744073709551615&wait=10s",
		"index=18446744073709551616&wait": "index=18446744073709551616&wait",
	} {
		must.Eq(t, want, shortenWait(raw), must.Sprint(raw))
	}
}

func TestUseOf(t *testing.T) {
	for target, want := range map[string]limit.Use{
		"/v1/jobs":                               limit.Request,
		"/v1/jobs?index=0":                       limit.Request,
		"/v1/jobs?index=7":                       limit.Watch,
		"/v1/jobs?follow=true":                   limit.Request,
		"/v1/event/stream":                       limit.Watch,
		"/v1/agent/monitor?log_level=debug":      limit.Watch,
		"/v1/agent/monitor/export":               limit.Watch,
		"/v1/client/fs/ls/a":                     limit.Request,
		"/v1/client/fs/logs/a":                   limit.Request,
		"/v1/client/fs/logs/a?follow=true":       limit.Watch,
		"/v1/client/fs/logs/a?follow=1":          limit.Watch,
		"/v1/client/fs/logs/a?f%6Fllow=T":        limit.Watch,
		"/v1/client/fs/logs/a?follow=f":          limit.Request,
		"/v1/client/fs/stream/a?path=x":          limit.Watch,
		"/v1/client/fs/stream/a?follow=false":    limit.Request,
		"/v1/client/fs/stream/a?follow=anything": limit.Watch,
	} {
		must.Eq(t, want, useOf(pass, httptest.NewRequest(http.MethodGet, target, nil)), must.Sprint(target))
	}
}
