package admission

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater/limit"

	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testtimeout"
)

// raw sends bytes and returns the first response, or nil if the connection is closed without one.
func (f *fixture) raw(text string) *http.Response {
	f.t.Helper()
	conn, err := net.Dial("tcp", f.front.Listener.Addr().String())
	must.NoError(f.t, err)
	f.t.Cleanup(func() { _ = conn.Close() })
	must.NoError(f.t, conn.SetDeadline(time.Now().Add(testtimeout.Scale(time.Minute))))
	_, err = io.WriteString(conn, text)
	must.NoError(f.t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		must.ErrorIs(f.t, err, io.ErrUnexpectedEOF)
		return nil
	}
	return resp
}

// judged checks that each job Nomad received has the sidecar that the rule requires.
func (f *fixture) judged() {
	f.t.Helper()
	f.Lock()
	defer f.Unlock()
	for i, body := range f.bodies {
		if strings.Contains(string(body), "TaskGroups") {
			must.Eq(f.t, []string{"app", "note"}, tasksOf(f.t, body), must.Sprint(f.requests[i].URL))
		}
	}
}

// A body that stops arriving ends the request; it never gets a connection to Nomad.
func TestBody_Stalled(t *testing.T) {
	for _, request := range []string{
		"PUT /v1/jobs HTTP/1.1\r\nHost: nomad\r\nContent-Length: 1000\r\n\r\n{\"Job\":",
		"PUT /v1/jobs/parse HTTP/1.1\r\nHost: nomad\r\nContent-Length: 1000\r\n\r\n{",
		"PUT /v1/search HTTP/1.1\r\nHost: nomad\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
		"GET /v1/jobs HTTP/1.1\r\nHost: nomad\r\nContent-Length: 100000000\r\n\r\n{",
	} {
		f := start(t, notePolicy)
		f.proxy.BodyTimeout, f.proxy.BlockTimeout = 50*time.Millisecond, 50*time.Millisecond
		resp := f.raw(request)
		must.NotNil(t, resp)
		must.Eq(t, http.StatusRequestTimeout, resp.StatusCode)
		text, err := io.ReadAll(resp.Body)
		must.NoError(t, err)
		must.StrContains(t, string(text), "arrives too slowly")
		must.True(t, resp.Close)
		must.Zero(t, f.connections())
	}
}

// A compressed body, which Nomad does not read either, is not decompressed.
func TestBody_Compressed(t *testing.T) {
	f := start(t, notePolicy)
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	for range 64 {
		_, err := z.Write(bytes.Repeat([]byte(" "), 1<<20))
		must.NoError(t, err)
	}
	_, err := io.WriteString(z, jobNamed("web"))
	must.NoError(t, err)
	must.NoError(t, z.Close())
	must.Less(t, 1<<20, bomb.Len())
	resp, text := f.send(http.MethodPut, "/v1/jobs", bomb.String(), "Content-Encoding", "gzip")
	must.Eq(t, http.StatusBadRequest, resp.StatusCode)
	must.StrContains(t, text, "not valid JSON")
	must.Zero(t, f.count())
}

// A body without a length is limited while it is read.
func TestBody_Endless(t *testing.T) {
	f := start(t, notePolicy)
	endless := io.MultiReader(strings.NewReader(`{"Job":{"ID":"`), forever{})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, f.front.URL+"/v1/jobs", endless)
	must.NoError(t, err)
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err == nil { // the response may arrive while the client still writes, or be lost
		must.Eq(t, http.StatusRequestEntityTooLarge, resp.StatusCode)
		must.NoError(t, resp.Body.Close())
	}
	must.Zero(t, f.count())
}

type forever struct{}

func (forever) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// More clients than places wait, and all are served.
func TestProxy_ManyConcurrentJobs(t *testing.T) {
	f := start(t, notePolicy)
	f.proxy.jobSlots = &limit.Slots{Total: 1, PerClient: 1}
	var wait sync.WaitGroup
	statuses := make([]int, 100)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for i := range statuses {
		wait.Go(func() {
			resp, err := client.Post(f.front.URL+"/v1/jobs", "", strings.NewReader(jobNamed(fmt.Sprintf("web-%d", i))))
			if err == nil {
				statuses[i] = resp.StatusCode
				_ = resp.Body.Close() // only the status counts
			}
		})
	}
	wait.Wait()
	must.Eq(t, slices.Repeat([]int{http.StatusOK}, 100), statuses)
	must.Eq(t, 100, f.count())
	f.judged()
}

// A client that leaves while it waits for a place frees it, and its job is not sent.
func TestProxy_ClientLeavesQueue(t *testing.T) {
	f := start(t, notePolicy)
	f.proxy.jobSlots = &limit.Slots{Total: 1, PerClient: 1}
	release, err := f.proxy.jobSlots.Acquire(t.Context(), limit.Client{}, limit.Job, 0)
	must.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, f.front.URL+"/v1/jobs", strings.NewReader(jobNamed("web")))
	must.NoError(t, err)
	sent := make(chan error, 1)
	go func() {
		resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
		if err == nil {
			_ = resp.Body.Close() // no response is expected
		}
		sent <- err
	}()
	cancel()
	must.ErrorIs(t, <-sent, context.Canceled)
	f.front.Close() // waits for the handler
	must.Zero(t, f.count())
	release()
	must.Zero(t, f.proxy.jobSlots.Used()[limit.Job])
}

// No spelling of the body's length hides a second request in it.
func TestProxy_RequestSmuggling(t *testing.T) {
	hidden := jobNamed("web")
	second := fmt.Sprintf("PUT /v1/search HTTP/1.1\r\nHost: nomad\r\nContent-Length: %d\r\n\r\n%s", len(hidden), hidden)
	chunk := func(body string) string { return fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body) }
	for name, c := range map[string]struct {
		headers, body string
		refused       bool
	}{
		"both":                     {fmt.Sprintf("Content-Length: %d\r\nTransfer-Encoding: chunked\r\n", 4), chunk(jobNamed("web")), false},
		"both, other order":        {"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", chunk(jobNamed("web")), false},
		"two lengths":              {fmt.Sprintf("Content-Length: %d\r\nContent-Length: 5\r\n", len(hidden)), hidden + second, true},
		"a length with a sign":     {"Content-Length: +5\r\n", hidden, true},
		"a list of lengths":        {"Content-Length: 5, 6\r\n", hidden, true},
		"space before the colon":   {"Transfer-Encoding : chunked\r\n", chunk(hidden), true},
		"unknown coding":           {"Transfer-Encoding: xchunked\r\n", chunk(hidden), true},
		"two codings":              {"Transfer-Encoding: chunked, identity\r\n", chunk(hidden), true},
		"a coding twice":           {"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", chunk(hidden), true},
		"a folded line":            {"Transfer-Encoding:\r\n chunked\r\nContent-Length: 4\r\n", chunk(hidden), false},
		"a chunk's size too large": {"Transfer-Encoding: chunked\r\n", "ffffffffffffffffff\r\n" + hidden, true},
		"no end of a chunk":        {"Transfer-Encoding: chunked\r\n", fmt.Sprintf("%x\r\n%sX0\r\n\r\n", len(hidden), hidden), true},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, notePolicy)
			resp := f.raw("PUT /v1/jobs HTTP/1.1\r\nHost: nomad\r\n" + c.headers + "\r\n" + c.body)
			f.judged()
			if c.refused {
				must.Zero(t, f.count())
				must.True(t, resp == nil || resp.StatusCode >= 400)
				return
			}
			must.LessEq(t, 1, f.count())
		})
	}
}

// HTTP/2 is not available without TLS, so that no streams can be opened and reset.
func TestProxy_NoCleartextHTTP2(t *testing.T) {
	f := start(t, notePolicy)
	resp := f.raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
	must.True(t, resp == nil || resp.StatusCode >= 400)
	resp = f.raw("GET /v1/jobs HTTP/1.1\r\nHost: nomad\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n")
	must.NotNil(t, resp)
	must.Eq(t, http.StatusOK, resp.StatusCode)
	must.Eq(t, 1, resp.ProtoMajor)
}

// A job's text in a rule's message cannot become a header or a line of the log.
func TestDenial_ControlCharacters(t *testing.T) {
	f := start(t, "rule \"r\" {\n  validation {\n    condition     = job.id == \"\"\n    error_message = \"Not ${job.id}.\"\n  }\n}\n")
	id := "a\\r\\nX-Evil: 1\\r\\n\\r\\n{\\\"msg\\\":\\\"forged\\\"}"
	for _, path := range []string{"/v1/jobs", "/v1/validate/job"} {
		f.audit.Reset()
		resp, text := f.send(http.MethodPut, path, jobNamed(id))
		must.StrContains(t, text, "X-Evil")
		must.Eq(t, "", resp.Header.Get("X-Evil"))
		must.Eq(t, "nosniff", cmp.Or(resp.Header.Get("X-Content-Type-Options"), map[bool]string{true: "nosniff"}[path == "/v1/validate/job"]))
		must.Eq(t, 1, strings.Count(f.audit.String(), "\n"))
		must.True(t, json.Valid(f.audit.Bytes()))
	}
}

func TestAnswers_NoControlCharacters(t *testing.T) {
	denying := "rule \"r\" {\n  validation {\n    condition     = job.id == \"\"\n    error_message = \"Not ${job.id}.\"\n  }\n}\n"
	for _, policy := range []string{denying, everyJob} {
		f := start(t, policy)
		job := strings.Replace(jobNamed("web"), `"ID":"web"`, `"ID":"web\u001b[2J\u009b\u202e","Meta":{"sidecar.exclude":"note","sidecar.\u001b[2Jnote.x":"1"}`, 1)
		job = strings.Replace(job, `"Name":"g"`, `"Name":"g\u001b[2J"`, 1)
		for _, path := range []string{"/v1/jobs", "/v1/validate/job"} {
			resp, text := f.send(http.MethodPut, path, job)
			if resp.Header.Get("Content-Type") == "application/json" || strings.HasPrefix(text, "{") {
				var answer api.JobValidateResponse
				must.NoError(t, json.Unmarshal([]byte(text), &answer))
				text = answer.Error + strings.Join(answer.ValidationErrors, "") + answer.Warnings
			}
			must.StrContains(t, text, `1b[2J`)
			must.False(t, strings.ContainsFunc(text, func(r rune) bool { return r != '\n' && unicode.In(r, unicode.Cc, unicode.Bidi_Control) }), must.Sprintf("%q", text))
		}
	}
}

// Hop-by-hop headers are not forwarded, including those the client declares as such, and the proxy
// sets the headers that frame the request to Nomad.
func TestProxy_HopByHopHeaders(t *testing.T) {
	f := start(t, notePolicy)
	resp := f.raw(fmt.Sprintf("PUT /v1/jobs HTTP/1.1\r\nHost: nomad\r\nContent-Length: %d\r\nConnection: keep-alive, X-Secret, Content-Length, X-Forwarded-For\r\n"+
		"X-Secret: s\r\nKeep-Alive: timeout=5\r\nProxy-Authorization: Basic eA==\r\nProxy-Connection: keep-alive\r\nTE: gzip\r\nX-Nomad-Token: t\r\n\r\n%s", len(jobNamed("web")), jobNamed("web")))
	must.Eq(t, http.StatusOK, resp.StatusCode)
	got, body := f.last(t)
	for _, name := range []string{"Connection", "X-Secret", "Keep-Alive", "Proxy-Authorization", "Proxy-Connection", "Te"} {
		must.Eq(t, "", got.Header.Get(name), must.Sprint(name))
	}
	must.Eq(t, "t", got.Header.Get("X-Nomad-Token"))
	must.Eq(t, int64(len(body)), got.ContentLength)
	must.Eq(t, "127.0.0.1", got.Header.Get("X-Forwarded-For"))
	f.judged()
}
