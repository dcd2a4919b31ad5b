package admission

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater/limit"
)

// reverts behaves like Nomad: a ServeMux, which cleans paths, and the suffix of the decoded path.
func (f *fixture) reverts(t *testing.T, stored string) (reverted *[]string) {
	reverted = &[]string{}
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/job/", func(w http.ResponseWriter, r *http.Request) {
		path := strings.TrimPrefix(r.URL.Path, "/v1/job/")
		if id, ok := strings.CutSuffix(path, "/versions"); ok && r.Method == http.MethodGet {
			if id == stored {
				fmt.Fprintf(w, `{"Versions":[%s]}`, numbered(t, []byte(jobNamed(stored)), 0))
			} else {
				http.Error(w, "job versions not found", http.StatusNotFound)
			}
			return
		}
		var ask reverting
		if id, ok := strings.CutSuffix(path, "/revert"); ok && json.NewDecoder(r.Body).Decode(&ask) == nil && ask.JobID == id {
			*reverted = append(*reverted, id)
			_, _ = io.WriteString(w, `{}`) // a missing response fails the test
			return
		}
		http.Error(w, "Job ID does not match", http.StatusBadRequest)
	})
	f.answer = func(w http.ResponseWriter, r *http.Request) {
		r.Body = io.NopCloser(strings.NewReader(string(f.bodies[len(f.bodies)-1])))
		mux.ServeHTTP(w, r)
	}
	return reverted
}

const everyJob = "rule \"all\" {\n  inject \"note\" {}\n  required = true\n}\n"

// No job ID makes the proxy check another job, or none, and allow the revert.
func TestRevert_UnaddressableIDs(t *testing.T) {
	for _, id := range []string{
		".", "..", "/", "a/", "/a", "a//b", "a/../b", "a/./b", "../jobs", "a/..", "..%2f", "%2e%2e", "a;b", "a?b", "a#b", "a%2Fb", "a%00b",
		"a/versions", "a/revert", "versions", "x/plan", "a\nb", "a\u202eb", "a b", "é", "a+b", "a&b=c",
	} {
		f := start(t, everyJob)
		reverted := f.reverts(t, id)
		body, err := json.Marshal(reverting{JobID: id})
		must.NoError(t, err)
		path := strings.ReplaceAll(url.PathEscape(id), ".", "%2E")
		resp, text := f.send(http.MethodPut, "/v1/job/"+path+"/revert", string(body))
		must.Eq(t, http.StatusForbidden, resp.StatusCode, must.Sprintf("%q: %s", id, text))
		must.SliceEmpty(t, *reverted, must.Sprintf("%q", id))
		must.StrContains(t, f.audit.String(), `"decision":"denied"`)
	}
}

// A response about another job, or from another path, is not used for a decision.
func TestRevert_ResponseOfOtherJob(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"another job": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"Versions":[%s]}`, numbered(t, []byte(jobNamed("other")), 0))
		},
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/v1/elsewhere", http.StatusMovedPermanently)
		},
		"no JSON":       func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") },
		"no versions":   func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"Versions":["x"]}`) },
		"too many":      func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "too many", http.StatusTooManyRequests) },
		"not permitted": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusForbidden) },
	} {
		f := start(t, everyJob)
		f.answer = func(w http.ResponseWriter, r *http.Request) {
			must.Eq(t, "/v1/job/web/versions", r.URL.Path, must.Sprint(name))
			answer(w, r)
		}
		resp, _ := f.send(http.MethodPut, "/v1/job/web/revert", `{"JobID":"web","JobVersion":0}`)
		must.Eq(t, http.StatusForbidden, resp.StatusCode, must.Sprint(name))
	}
	f := start(t, everyJob)
	resp, _ := f.send(http.MethodPut, "/v1/job/web/revert", `{"JobID":5}`)
	must.Eq(t, http.StatusBadRequest, resp.StatusCode)
	must.Zero(t, f.count())
}

// Text from a client is truncated in the log and contains no control characters.
func TestAudit_TextsAreBounded(t *testing.T) {
	f := start(t, everyJob)
	hostile := strings.Repeat("x", 100_000) + "\x1b[2J\u202e\u009b"
	hostileID, err := json.Marshal("\x1b[2J\u202e\u009b" + hostile)
	must.NoError(t, err)
	body := strings.Replace(jobNamed("web"), `"ID":"web"`, `"ID":`+string(hostileID)+`,"Namespace":`+string(hostileID)+`,"Region":`+string(hostileID), 1)
	for _, path := range []string{"/v1/jobs", "/v1/job/" + strings.Repeat("y", 30_000) + "%1b%5B2J/plan", "/v1/job/z/revert"} {
		sent := body
		if strings.HasSuffix(path, "/revert") {
			sent = `{"JobID":` + string(hostileID) + `}`
		}
		f.audit.Reset()
		f.send(http.MethodPut, path, sent, "User-Agent", strings.Repeat("u", 10_000))
		line := f.audit.String()
		must.Eq(t, 1, strings.Count(line, "\n"))
		must.Less(t, 4<<10, len(line))
		must.False(t, strings.ContainsFunc(line, func(r rune) bool {
			return r != '\n' && unicode.In(r, unicode.Cc, unicode.Bidi_Control)
		}), must.Sprintf("%q", line))
	}
}

func TestAudit_ClientBehindTrustedProxy(t *testing.T) {
	f := start(t, everyJob)
	for network, want := range map[string]string{"127.0.0.0/8": "198.51.100.1", "192.0.2.1/32": "127.0.0.1:"} {
		proxies, err := limit.ParseProxies([]string{network})
		must.NoError(t, err)
		f.proxy.Limits.Proxies = proxies
		var told Decision
		f.proxy.Decided = func(d Decision) { told = d }
		f.audit.Reset()
		f.send(http.MethodPut, "/v1/jobs", jobNamed("web"), "X-Forwarded-For", "8.8.8.8, 198.51.100.1:4711")
		must.StrHasPrefix(t, want, told.Client)
		must.StrContains(t, f.audit.String(), `"client":"`+want)
	}
}

func TestRefusal_NamesTheFlag(t *testing.T) {
	for what, flag := range map[string]string{requests: "-max-connections", upstream: "-max-upstream"} {
		must.StrContains(t, (&refusal{what, limit.ErrTotal}).text(), "see "+flag+" of")
		must.StrContains(t, (&refusal{what, limit.ErrClient}).text(), "see "+flag+"-per-client of")
	}
}

func FuzzRevert(f *testing.F) {
	f.Add([]byte(`{"JobID":"..","JobVersion":3}`))
	f.Add([]byte(`{"JobID":"a/b","Namespace":"x","AuthToken":"t"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var ask reverting
		if json.Unmarshal(body, &ask) != nil || !addressable(ask.JobID) {
			return
		}
		at := (&url.URL{Scheme: "http", Host: "n"}).JoinPath("v1", "job", url.PathEscape(ask.JobID), "versions")
		back, err := url.Parse(at.String())
		must.NoError(t, err)
		must.Eq(t, "/v1/job/"+ask.JobID+"/versions", back.Path)
	})
}
