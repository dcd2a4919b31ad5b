package admission

import (
	"bufio"
	"compress/flate"
	"compress/gzip"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"
)

// Trap I1: an ID with a slash, in both spellings, an empty ID, and a job named plan.
func TestProxy_PathSpellings(t *testing.T) {
	f := start(t, notePolicy)
	for path, id := range map[string]string{
		"/v1/jobs": "web", "/v1/job/web": "web", "/v1/job/": "web", "/v1/job/web/plan": "web",
		"/v1/job/team/api": "team/api", "/v1/job/team%2Fapi": "team/api", "/v1/job/team%2Fapi/plan": "team/api",
		"/v1/job/team%2Fapi%2Fplan": "team/api", "/v1/job/plan": "plan", "/v1/job/plan/plan": "plan", "/v1/job/%70lan": "plan",
		"/v1/job/%2Fplan": "web", "/v1/job/x/periodic-1": "x/periodic-1", "/v1/%6Aobs": "web", "/v1/validate/job": "web",
		"/v1/jobs?namespace=prod": "web",
	} {
		for _, method := range []string{http.MethodPut, http.MethodPost} {
			resp, text := f.send(method, path, jobNamed(id))
			must.Eq(t, http.StatusOK, resp.StatusCode, must.Sprint(text))
			got, body := f.last(t)
			must.Eq(t, strings.Split(path, "?")[0], got.URL.EscapedPath())
			must.Eq(t, []string{"app", "note"}, tasksOf(t, body), must.Sprintf("%s %s", method, path))
		}
	}
}

// Trap I1.
func TestProxy_RoutesByDecodedPath(t *testing.T) {
	for path, want := range map[string]route{
		"/v1/job/a": register, "/v1/job/plan": register, "/v1/job/revert": register, "/v1/job/": register,
		"/v1/job/a/plan": plan, "/v1/job/a%2Fplan": plan, "/v1/job/a%2fb/pl%61n": plan, "/v1/job/%2Fplan": plan,
		"/v1/job/a%2Frevert": revert, "/v1/job/a%2Fdispatch": pass, "/v1/job/a/b/scale": pass, "/v1/job/a/planned": register,
	} {
		for method, want := range map[string]route{http.MethodPut: want, http.MethodPost: want, http.MethodGet: pass, http.MethodDelete: pass} {
			got, _ := jobRoute(httptest.NewRequest(method, path, nil))
			must.Eq(t, want, got, must.Sprintf("%s %s", method, path))
		}
	}
}

// Requests without a job are forwarded unchanged, regardless of their content.
func TestProxy_OtherRequests(t *testing.T) {
	f := start(t, notePolicy)
	body := jobNamed("web") + "\n trailing"
	for _, path := range []string{
		"/v1/jobs/parse", "/v1/job/web/scale", "/v1/job/web/dispatch", "/v1/job/web/periodic/force", "/v1/job/web/stable",
		"/v1/job/web/evaluate", "/v1/job/web/versions/v1/tag", "/v1/job/web/submission", "/v1/jobs/statuses", "/v1/var/a%2Fb?x=%zz;y",
		"/v1/search",
	} {
		resp, _ := f.send(http.MethodPut, path, body, "Authorization", "Bearer t", "Accept-Encoding", "identity")
		must.Eq(t, http.StatusOK, resp.StatusCode)
		got, sent := f.last(t)
		must.Eq(t, body, string(sent), must.Sprint(path))
		must.Eq(t, path, got.RequestURI)
		must.Eq(t, "Bearer t", got.Header.Get("Authorization"))
	}
	f.send(http.MethodGet, "/v1/jobs", body)
	_, sent := f.last(t)
	must.Eq(t, body, string(sent))
}

// Trap I5: the parts of a request next to its job.
func TestProxy_KeepsRestOfRequest(t *testing.T) {
	f := start(t, notePolicy)
	body := `{"New":{"a":[1.50]},"Submission":{"Source":"job {}","Format":"hcl2"},"EnforceIndex":true,"JobModifyIndex":18446744073709551615,` +
		strings.TrimPrefix(jobNamed("web"), "{")
	f.send(http.MethodPut, "/v1/jobs?idempotency_token=i&region=r&namespace=prod", body)
	got, sent := f.last(t)
	must.StrHasPrefix(t, body[:strings.Index(body, `"TaskGroups"`)], string(sent))
	must.Eq(t, "idempotency_token=i&region=r&namespace=prod", got.URL.RawQuery)
	must.Eq(t, f.front.Listener.Addr().String(), got.Host)
}

// Trap I7: gzip, deflate, identity.
func TestProxy_ContentEncodings(t *testing.T) {
	f := start(t, notePolicy)
	excluded := strings.Replace(jobNamed("web"), `"TaskGroups"`, `"Meta":{"sidecar.exclude":"*"},"TaskGroups"`, 1)
	for _, encoding := range []string{"gzip", "deflate", "identity", "gzip, deflate", ""} {
		resp, text := f.send(http.MethodPut, "/v1/jobs", excluded, "Accept-Encoding", encoding)
		must.Eq(t, "", resp.Header.Get("Content-Encoding"))
		var answer api.JobRegisterResponse
		must.NoError(t, json.Unmarshal([]byte(text), &answer))
		must.StrContains(t, answer.Warnings, "* theirs\n* nomad-sidecar: Sidecar not excluded")
		must.StrContains(t, text, "18446744073709551615")
	}
	for encoding, open := range map[string]func(io.Reader) io.Reader{
		"gzip": func(r io.Reader) io.Reader {
			z, err := gzip.NewReader(r)
			must.NoError(t, err)
			return z
		},
		"deflate": func(r io.Reader) io.Reader { return flate.NewReader(r) },
	} {
		resp, text := f.send(http.MethodGet, "/v1/jobs", "", "Accept-Encoding", encoding)
		must.Eq(t, encoding, resp.Header.Get("Content-Encoding"))
		plain, err := io.ReadAll(open(strings.NewReader(text)))
		must.NoError(t, err)
		must.StrContains(t, string(plain), "EvalID")
	}
}

// Trap I8: the three positions of a token, and the effective namespace.
func TestProxy_TokensAndNamespace(t *testing.T) {
	f := start(t, notePolicy)
	body := strings.Replace(jobNamed("web"), "{", `{"SecretID":"s3cret","Namespace":"dev",`, 1)
	for query, want := range map[string][]string{"": {"app"}, "?namespace=prod": {"app", "note"}, "?namespace=test": {"app"}} {
		f.send(http.MethodPut, "/v1/jobs"+query, body, "X-Nomad-Token", "h3ader", "Authorization", "Bearer b3arer")
		got, sent := f.last(t)
		must.Eq(t, want, tasksOf(t, sent), must.Sprint(query))
		must.Eq(t, "h3ader", got.Header.Get("X-Nomad-Token"))
		must.Eq(t, "Bearer b3arer", got.Header.Get("Authorization"))
		must.StrContains(t, string(sent), `"SecretID":"s3cret"`)
	}
	// For validation the job's own namespace counts, or else that of a registration.
	f.send(http.MethodPut, "/v1/validate/job?namespace=prod", jobNamed("web"))
	_, sent := f.last(t)
	must.Eq(t, []string{"app", "note"}, tasksOf(t, sent))
	inJob := strings.Replace(jobNamed("web"), `"ID"`, `"Namespace":"dev","ID"`, 1)
	f.send(http.MethodPut, "/v1/validate/job?namespace=prod", inJob)
	_, sent = f.last(t)
	must.Eq(t, []string{"app"}, tasksOf(t, sent))
	for _, secret := range []string{"s3cret", "h3ader", "b3arer", "top secret"} {
		must.StrNotContains(t, f.audit.String(), secret)
	}
	must.StrContains(t, f.audit.String(), `"decision":"injected"`)
	must.StrContains(t, f.audit.String(), `"rules":["notes"]`)
}

const noBatch = `rule "no-batch" {
  validation {
    condition     = job.type != "batch"
    error_message = "batch jobs run elsewhere; set type = \"service\"."
  }
}
`

// Trap I9: a violation is a 200 for validate and otherwise a 403; Nomad receives no request.
func TestProxy_ViolationAtValidate(t *testing.T) {
	f := start(t, noBatch)
	body := strings.Replace(jobNamed("web"), `"ID"`, `"Type":"batch","ID"`, 1)
	resp, text := f.send(http.MethodPut, "/v1/validate/job", body)
	must.Eq(t, http.StatusOK, resp.StatusCode)
	var answer api.JobValidateResponse
	must.NoError(t, json.Unmarshal([]byte(text), &answer))
	must.Len(t, 1, answer.ValidationErrors)
	must.StrContains(t, answer.ValidationErrors[0], `Rule "no-batch": batch jobs run elsewhere; set type = "service". (p.hcl:2)`)
	must.StrContains(t, answer.Error, "no-batch")
	for _, path := range []string{"/v1/jobs", "/v1/job/web/plan"} {
		resp, text = f.send(http.MethodPost, path, body)
		must.Eq(t, http.StatusForbidden, resp.StatusCode)
		must.StrContains(t, text, `Rule "no-batch": batch jobs run elsewhere`)
		must.StrHasPrefix(t, "text/plain", resp.Header.Get("Content-Type"))
	}
	must.Zero(t, f.count())
}

func TestBody_TooLarge(t *testing.T) {
	f := start(t, notePolicy)
	resp, text := f.send(http.MethodPut, "/v1/jobs", jobNamed(strings.Repeat("x", 1<<20)))
	must.Eq(t, http.StatusRequestEntityTooLarge, resp.StatusCode)
	must.StrContains(t, text, "more than 1 MiB")
	must.Zero(t, f.count())
}

// Nomad drops the connection of a request with a null in a list of objects.
func TestBody_Null(t *testing.T) {
	f := start(t, notePolicy)
	for body, field := range map[string]string{
		`{"Job":{"ID":"web","TaskGroups":[null]}}`:                                                     "Job.TaskGroups[0] is null",
		`{"job":{"id":"web","taskgroups":[{"tasks":[{"Name":"a"}, null]}]}}`:                           "Job.TaskGroups[0].Tasks[1] is null",
		`{"Job":{"ID":"web","TaskGroups":[{"Networks":[null],"Tasks":[{"Name":"a"}]}]}}`:               "Job.TaskGroups[0].Networks[0] is null",
		`{"Job":{"ID":"web","Constraints":[null]}}`:                                                    "Job.Constraints[0] is null",
		`{"Job":{"ID":"web","Multiregion":{"Regions":[null]}}}`:                                        "Job.Multiregion.Regions[0] is null",
		`{"Job":{"ID":"web","TaskGroups":[{"Tasks":[{"Name":"a","Services":[{"Checks":[]},null]}]}]}}`: "Job.TaskGroups[0].Tasks[0].Services[1] is null",
	} {
		for _, path := range []string{"/v1/jobs", "/v1/job/web/plan", "/v1/job/web"} {
			resp, text := f.send(http.MethodPut, path, body)
			must.Eq(t, http.StatusBadRequest, resp.StatusCode)
			must.StrContains(t, text, field)
		}
		_, text := f.send(http.MethodPut, "/v1/validate/job", body)
		must.StrContains(t, text, field)
	}
	must.Zero(t, f.count())
	f.register(`{"Job":{"ID":"web","TaskGroups":[{"Name":"g","Tasks":[{"Name":"app","Services":null}],"Networks":null,"Meta":{"a":null},"Volumes":{"v":null}}]}}`)
}

// If a field is repeated, Nomad merges the values, so the last value alone is not the job that Nomad
// would run.
func TestBody_RepeatedField(t *testing.T) {
	f := start(t, notePolicy)
	for _, body := range []string{
		`{"Job":{"ID":"web","TaskGroups":[]},"job":{"Name":"n"}}`,
		`{"Job":{"ID":"web","TaskGroups":[{"Name":"g","Tasks":[{"Name":"a"}],"tasKs":[]}]}}`,
		"{\"Job\":{\"ID\":\"web\",\"Ta\u017fkGroups\":[{}],\"TaskGroups\":[]}}",
	} {
		resp, text := f.send(http.MethodPut, "/v1/jobs", body)
		must.Eq(t, http.StatusBadRequest, resp.StatusCode)
		must.StrContains(t, text, "twice")
	}
	must.Zero(t, f.count())
	f.send(http.MethodPut, "/v1/jobs", strings.ReplaceAll(strings.ReplaceAll(jobNamed("web"), "TaskGroups", "taskGROUPS"), `"Job"`, `"jOB"`)+` trailing {`)
	_, sent := f.last(t)
	var req api.JobRegisterRequest
	must.NoError(t, json.NewDecoder(strings.NewReader(string(sent))).Decode(&req))
	must.Len(t, 2, req.Job.TaskGroups[0].Tasks)
}

// Trap I24: streams are not cut, and each part is forwarded immediately.
func TestProxy_FlushesStreams(t *testing.T) {
	f := start(t, notePolicy)
	next := make(chan string)
	f.answer = func(w http.ResponseWriter, r *http.Request) {
		for part := range next {
			_, _ = io.WriteString(w, part+"\n") // a missing response fails the test
			w.(http.Flusher).Flush()
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.front.URL+"/v1/event/stream", nil)
	must.NoError(t, err)
	go func() { next <- "one" }() // received by the handler, or the test times out
	resp, err := f.front.Client().Do(req)
	must.NoError(t, err)
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for _, part := range []string{"one", "two", "three"} {
		if part != "one" {
			next <- part
		}
		must.True(t, lines.Scan())
		must.Eq(t, part, lines.Text())
	}
	close(next)
	must.False(t, lines.Scan())
	must.Zero(t, f.proxy.Upstream.Transport.ResponseHeaderTimeout)
}

func TestUpstream_UnixSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "n.sock")
	l, err := net.Listen("unix", socket)
	must.NoError(t, err)
	f := start(t, notePolicy)
	back := &httptest.Server{Listener: l, Config: &http.Server{Handler: f.nomad}}
	back.Start()
	defer back.Close()
	up, err := OpenUpstream("unix://"+socket, nil)
	must.NoError(t, err)
	defer up.Transport.CloseIdleConnections()
	must.NoError(t, up.Answers(t.Context()))
	must.Eq(t, []string{"unix://" + socket}, up.Names())
	for _, wrong := range []string{"ftp://x", "nomad:4646", "http://x/path", "http://", "http://x?y=z", "unix://", "unix://run/nomad.sock"} {
		_, err := OpenUpstream(wrong, nil)
		must.ErrorContains(t, err, "address of Nomad")
	}
}

func TestUpstream_TLS(t *testing.T) {
	f := start(t, notePolicy)
	back := httptest.NewTLSServer(f.nomad)
	defer back.Close()
	back.Config.ErrorLog = log.New(io.Discard, "", 0) // errors of the agent that does not know the CA
	up, err := OpenUpstream(back.URL, &api.TLSConfig{CACertPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: back.Certificate().Raw})})
	must.NoError(t, err)
	defer up.Transport.CloseIdleConnections()
	must.NoError(t, up.Answers(t.Context()))
	stranger, err := OpenUpstream(back.URL, &api.TLSConfig{})
	must.NoError(t, err)
	must.ErrorContains(t, stranger.Answers(t.Context()), "unknown authority")
}

func TestUpstream_Unreachable(t *testing.T) {
	f := start(t, notePolicy)
	f.proxy.upstream.Host = "127.0.0.1:1"
	resp, text := f.send(http.MethodPut, "/v1/jobs", jobNamed("web"))
	must.Eq(t, http.StatusBadGateway, resp.StatusCode)
	must.StrContains(t, text, "does not answer")
}
