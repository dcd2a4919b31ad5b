package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shoenig/test/must"
	"go.uber.org/goleak"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/internal/program/programtest"
	"github.com/nomad-sidecar/nomad-sidecar/jobs/sidecars/wait-for/target"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func noEnv(string) string { return "" }

// file is a target that is missing, and its path.
func file(t *testing.T, name string) (target.Target, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	f, err := target.Parse("file://"+path, target.Options{})
	must.NoError(t, err)
	return f, path
}

func TestEndsWhenAllAnswer(t *testing.T) {
	var up atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !up.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(server.Close)
	path := filepath.Join(t.TempDir(), "ready")
	log, done := &programtest.Output{}, make(chan error, 1)
	go func() {
		done <- run(t.Context(), []string{"-target", server.URL, "-target", "file://" + path, "-interval", "1ms", "-max-interval", "5ms"}, noEnv, log)
	}()
	log.Wait(t, `msg=waiting target=`+server.URL+` why="status: it returns 503`)
	log.Wait(t, `why="missing: `)
	up.Store(true)
	log.Wait(t, `msg=answers target=`+server.URL)
	must.StrNotContains(t, log.String(), "all answer")
	must.NoError(t, os.WriteFile(path, nil, 0o600))
	must.NoError(t, <-done)
	must.StrContains(t, log.String(), `msg="all answer" targets=2`)
}

// Inside of the bubble pauses take no time, and are as long as they should be.
func TestPausesDouble(t *testing.T) {
	ready, path := file(t, "ready")
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		time.AfterFunc(40*time.Second, func() { must.NoError(t, os.WriteFile(path, nil, 0o600)) })
		log := &programtest.Output{}
		p := pace{timeout: time.Hour, attempt: time.Second, first: time.Second, longest: 10 * time.Second}
		must.NoError(t, waitForAll(t.Context(), []target.Target{ready}, p, slog.New(slog.NewTextHandler(log, nil))))
		// Tries at 0, 1, 3, 7, 15, 25, 35 and 45 seconds.
		must.Eq(t, 45*time.Second, time.Since(began))
		must.StrContains(t, log.String(), "tries=8 after=45s")
		for _, pause := range []string{"1s", "2s", "4s", "8s", "10s"} {
			must.StrContains(t, log.String(), "next="+pause+"\n")
		}
	})
}

func TestGivesUp(t *testing.T) {
	ready, path := file(t, "ready")
	must.NoError(t, os.WriteFile(path, nil, 0o600))
	first, _ := file(t, "first")
	second, _ := file(t, "second")
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		p := pace{timeout: time.Minute, attempt: time.Second, first: time.Second, longest: 10 * time.Second}
		err := waitForAll(t.Context(), []target.Target{ready, first, second}, p, slog.New(slog.DiscardHandler))
		must.Eq(t, time.Minute, time.Since(began))
		must.ErrorContains(t, err, "gave up after 1m0s, no answer from 2 of 3: file://")
		must.ErrorContains(t, err, "/first: missing: ")
		must.ErrorContains(t, err, "/second: missing: ")
		must.StrNotContains(t, err.Error(), "/ready")
	})
}

// results are the errors of a target's attempts, in order.
type results []error

func (r *results) Try(context.Context) error {
	err := (*r)[0]
	*r = (*r)[1:]
	return err
}

// TestWaitFor_CutOff checks that the end of all time is not reported as the target's fault, also if a
// socket notices it first, and that a timeout of an attempt is.
func TestWaitFor_CutOff(t *testing.T) {
	refused, late := errors.New("refused"), fmt.Errorf("dial: %w", os.ErrDeadlineExceeded)
	for timeout, want := range map[time.Duration]error{1500 * time.Millisecond: refused, 2500 * time.Millisecond: late} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			p := pace{attempt: time.Second, first: time.Second, longest: 10 * time.Second}
			must.ErrorIs(t, waitFor(ctx, &results{refused, late}, p, slog.New(slog.DiscardHandler)), want)
		})
	}
}

func TestStopsWhenAskedTo(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	log, done := &programtest.Output{}, make(chan error, 1)
	go func() { done <- run(ctx, []string{"-target", "file:///nonexistent/ready"}, noEnv, log) }()
	log.Wait(t, "msg=waiting")
	cancel()
	must.ErrorContains(t, <-done, "while waiting for file:///nonexistent/ready: missing: ")
}

func TestRefusesBadInput(t *testing.T) {
	noPEM := filepath.Join(t.TempDir(), "ca.pem")
	must.NoError(t, os.WriteFile(noPEM, []byte("hello"), 0o600))
	for args, want := range map[string]string{
		"":                                   "nothing to wait for: set -target to tcp://",
		"tcp://db:80":                        `unexpected argument "tcp://db:80": wait-for takes only flags`,
		"-target db:80":                      `-target: "db:80" is not an address`,
		"-target dns://db -timeout 5":        "invalid value",
		"-target dns://db -timeout 0s":       "must be above 0",
		"-target dns://db -max-interval 1ms": "at least -interval",
		"-target dns://db -status 200,99":    `-status: "99" is not an HTTP status`,
		"-target dns://db -ca-file /none":    "-ca-file: open /none",
		"-target dns://db -ca-file " + noPEM: fmt.Sprintf("-ca-file: %s has no certificate in PEM", noPEM),
	} {
		must.ErrorContains(t, run(t.Context(), strings.Fields(args), noEnv, io.Discard), want, must.Sprint(args))
	}
	must.ErrorIs(t, run(t.Context(), []string{"-h"}, noEnv, io.Discard), flag.ErrHelp)
}
