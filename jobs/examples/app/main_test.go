package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"go.uber.org/goleak"

	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testtimeout"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// output is what the program prints; it may be read meanwhile.
type output struct {
	mu   sync.Mutex
	text strings.Builder
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// waitFor polls until the output has the text, for at most ten seconds.
func (o *output) waitFor(t *testing.T, text string) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(testtimeout.Scale(10 * time.Second))
	for !strings.Contains(o.String(), text) {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("no %q in %q", text, o.String())
		}
	}
}

func TestServesUntilItIsStopped(t *testing.T) {
	allocDir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, done := &output{}, make(chan error, 1)
	getenv := func(name string) string { return map[string]string{"NOMAD_ALLOC_DIR": allocDir}[name] }
	go func() { done <- run(ctx, []string{"-listen", "127.0.0.1:0"}, getenv, out) }()
	out.waitFor(t, "serving ")
	url := regexp.MustCompile(`http://\S+`).FindString(out.String())

	hello, err := os.ReadFile(filepath.Join(allocDir, "hello.txt"))
	must.NoError(t, err)
	must.Eq(t, "hello from webapp\n", string(hello))

	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get(url + "a%0Ab?c=d")
	must.NoError(t, err)
	body, err := io.ReadAll(answer.Body)
	must.NoError(t, err)
	must.NoError(t, answer.Body.Close())
	must.Eq(t, http.StatusOK, answer.StatusCode)
	must.StrContains(t, string(body), "Hello from webapp")
	out.waitFor(t, `GET "/a%0Ab?c=d" from 127.0.0.1:`)

	must.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGHUP))
	out.waitFor(t, "\nreloaded\n")

	cancel()
	must.NoError(t, <-done)
	must.StrHasSuffix(t, "\nstopped\n", out.String())
	_, err = net.Dial("tcp", strings.Trim(strings.TrimPrefix(url, "http://"), "/"))
	must.ErrorIs(t, err, syscall.ECONNREFUSED)
}

func TestPageEscapesAndTellsOfTLS(t *testing.T) {
	out := &output{}
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/<script>", nil)
	r.Header.Set("X-Forwarded-Proto", "https")
	newHandler(log.New(out, "", 0)).ServeHTTP(w, r)
	must.StrContains(t, w.Body.String(), "/&lt;script&gt;")
	must.StrContains(t, w.Body.String(), "HTTPS")
	must.StrHasPrefix(t, `GET "/%3Cscript%3E"`, out.String())
}

func TestRunRefusesBadInput(t *testing.T) {
	nothing := func(string) string { return "" }
	must.ErrorContains(t, run(t.Context(), []string{"8080"}, nothing, io.Discard), `unexpected argument "8080"`)
	must.ErrorContains(t, run(t.Context(), []string{"-listen", "8080"}, nothing, io.Discard), "listen: ")
	must.ErrorIs(t, run(t.Context(), []string{"-h"}, nothing, io.Discard), flag.ErrHelp)

	missing := filepath.Join(t.TempDir(), "none")
	err := run(t.Context(), nil, func(string) string { return missing }, io.Discard)
	must.ErrorContains(t, err, "greet the other tasks")
	must.True(t, errors.Is(err, os.ErrNotExist))
}
