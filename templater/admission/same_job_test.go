package admission

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/shoenig/test/must"
)

// reader reads requests as Nomad's agent does: its patterns, suffixes, order of namespaces and
// decoder (command/agent/http.go, registerHandlers and decodeBody; job_endpoint.go,
// JobSpecificRequest, jobUpdate, jobPlan, ValidateJobRequest). It responds 200 to all requests that
// Nomad would process.
type reader struct {
	mux   *http.ServeMux
	heard *heardJob // the last job, or nil
}

type heardJob struct {
	route     route
	namespace string
	job       *api.Job
}

func newReader() *reader {
	n := &reader{mux: http.NewServeMux()}
	n.mux.HandleFunc("/v1/jobs", func(w http.ResponseWriter, r *http.Request) { n.take(w, r, register, "") })
	n.mux.HandleFunc("/v1/validate/job", func(w http.ResponseWriter, r *http.Request) { n.take(w, r, validate, "") })
	for _, other := range []string{"/v1/jobs/parse", "/v1/jobs/statuses", "/"} {
		n.mux.HandleFunc(other, func(http.ResponseWriter, *http.Request) {})
	}
	n.mux.HandleFunc("/v1/job/", func(w http.ResponseWriter, r *http.Request) {
		path := strings.TrimPrefix(r.URL.Path, "/v1/job/")
		for _, suffix := range strings.Fields("/evaluate /allocations /evaluations /periodic/force /plan /summary /dispatch /dispatch/payload /versions /revert /deployments /deployment /stable /scale /services /submission /actions /action /tag") {
			id, ok := strings.CutSuffix(path, suffix)
			if ok && suffix == "/plan" {
				n.take(w, r, plan, id)
			}
			if ok {
				return
			}
		}
		n.take(w, r, register, path)
	})
	return n
}

func (n *reader) take(w http.ResponseWriter, r *http.Request, to route, id string) {
	if r.Method != http.MethodPut && r.Method != http.MethodPost {
		return // a list, a deregistration, or an error
	}
	job, namespace, err := decodeRequest(r, to)
	if err == nil && to != validate && (job.ID == nil || (id != "" && *job.ID != id)) {
		err = errors.New("no ID, or another one")
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	n.heard = &heardJob{to, namespace, job}
	_, _ = w.Write([]byte("{}")) // a recorder never fails
}

func decodeRequest(r *http.Request, to route) (*api.Job, string, error) {
	var args api.JobRegisterRequest
	out := any(&args)
	if r.Body == http.NoBody {
		return nil, "", errors.New("no body")
	}
	if err := json.NewDecoder(r.Body).Decode(&out); err != nil {
		return nil, "", err
	}
	if args.Job == nil {
		return nil, "", errors.New("no job")
	}
	inJob := ""
	if args.Job.Namespace != nil {
		inJob = *args.Job.Namespace
	}
	namespace := cmp.Or(r.URL.Query().Get("namespace"), args.Namespace, inJob, "default")
	if to == validate { // Nomad takes the default namespace for a job without one, see Rules.locationOf
		namespace = cmp.Or(inJob, namespace)
	}
	return args.Job, namespace, nil
}

// RoundTrip forwards the proxy's request as bytes.
func (n *reader) RoundTrip(r *http.Request) (*http.Response, error) {
	var wire bytes.Buffer
	if err := r.Write(&wire); err != nil {
		return nil, err
	}
	came, err := http.ReadRequest(bufio.NewReader(&wire))
	if err != nil {
		return nil, err
	}
	w := httptest.NewRecorder()
	n.mux.ServeHTTP(w, came)
	resp := w.Result()
	resp.Request = r
	return resp, nil
}

func readRequest(wire string) *http.Request {
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(wire)))
	if err != nil {
		return nil // no server passes such a request to a handler
	}
	return r
}

// FuzzProxy_SameJobAsNomad checks that, however a request is spelled, the proxy has judged every job
// that Nomad receives through it, in the namespace that Nomad uses. It also checks that the proxy
// neither finds a job where Nomad finds none nor drops one silently.
func FuzzProxy_SameJobAsNomad(f *testing.F) {
	for _, s := range spellings() {
		f.Add(s.method, s.target, s.headers, []byte(s.body))
	}
	rules := rulesOf(f, "rule \"all\" {\n match {\n namespace = [\"prod\"]\n }\n inject \"note\" {}\n required = true\n}\n")
	metrics := NewMetrics(prometheus.NewRegistry())
	f.Fuzz(func(t *testing.T, method, target, headers string, body []byte) {
		wire := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: nomad\r\nContent-Length: %d\r\n%s\r\n%s", method, target, len(body), headers, body)
		direct, through := readRequest(wire), readRequest(wire)
		if direct == nil {
			return
		}
		alone := newReader()
		alone.mux.ServeHTTP(httptest.NewRecorder(), direct)

		behind := newReader()
		p := New(Options{
			Upstream: &Upstream{URL: &url.URL{Scheme: "http", Host: "nomad"}}, Rules: rules, MaxBodyBytes: 1 << 20,
			Audit: slog.New(slog.DiscardHandler), Metrics: metrics,
		})
		p.transport, p.forward.Transport = behind, behind
		w := httptest.NewRecorder()
		p.ServeHTTP(w, through)
		compare(t, alone.heard, behind.heard, w, body)
	})
}

func compare(t *testing.T, alone, behind *heardJob, w *httptest.ResponseRecorder, body []byte) {
	t.Helper()
	said := must.Sprintf("%d %s", w.Code, w.Body)
	switch {
	case behind == nil && alone == nil:
	case behind == nil:
		must.True(t, w.Code >= 400 || strings.Contains(w.Body.String(), "denied by nomad-sidecar"), said)
	default:
		must.NotNil(t, alone, said)
		must.Eq(t, fmt.Sprint(alone.route, " ", alone.namespace), fmt.Sprint(behind.route, " ", behind.namespace))
		must.Eq(t, alone.job.ID, behind.job.ID)
		for _, g := range behind.job.TaskGroups {
			if g != nil && behind.namespace == "prod" {
				must.Eq(t, 1, count(g, "note"), said)
			}
			if g != nil && behind.namespace != "prod" && !bytes.Contains(body, []byte("sidecar.")) {
				must.Eq(t, 0, count(g, "note"), said)
			}
		}
	}
}

type spelling struct{ method, target, headers, body string }

// spellings returns equivalent and nearly equivalent requests.
func spellings() []spelling {
	job := jobNamed("web")
	inside := strings.Replace(job, `"ID"`, `"Namespace":"prod","ID"`, 1)
	beside := strings.Replace(job, "{", `{"Namespace":"prod","Region":"r",`, 1)
	var all []spelling
	for _, target := range []string{
		"/v1/jobs", "/v1/job/web", "/v1/job/", "/v1/job/web/plan", "/v1/validate/job", "/v1/jobs?namespace=prod", "/v1/jobs?namespace=dev&region=r",
		"/v1/jobs?namespace=&namespace=prod", "/v1/jobs?Namespace=prod", "/v1/jobs?namespace=pro%64", "/v1/jobs?namespace=%zz&namespace=prod", "/v1/jobs?a=1;namespace=prod",
		"//v1/jobs", "/v1//jobs", "/v1/./jobs", "/v1/x/../jobs", "/v1/jobs/", "/v1/%6aobs", "/v1%2Fjobs", "/v1/job%2Fweb", "/v1/job/web%2Fplan", "/v1/job/%2Fplan", "/v1/job//web",
		"/v1/job/plan", "/v1/job/plan/plan", "/v1/job/web/pl%61n", "/v1/job/web/", "/v1/job/web/scale", "/v1/job/web/revert", "/v1/job/web/dispatch", "/v1/job/dispatch", "/v1/job/web/dispatch/payload",
		"/v1/job/web/periodic/force", "/v1/job/web/stable", "/v1/job/web/versions/1/tag", "/v1/job/web/unknown", "/v1/jobs/parse", "/v1/jobs/statuses", "/V1/jobs", "http://other/v1/jobs", "/v1/jobs#x", "*",
	} {
		for _, method := range []string{"PUT", "POST"} {
			all = append(all, spelling{method, target, "", inside})
		}
	}
	// Jobs whose ID Nomad takes from the path.
	for path, id := range map[string]string{"plan": "plan", "plan/plan": "plan", "team%2Fapi": "team/api", "web/unknown": "web/unknown", "x/periodic-1": "x/periodic-1", "dispatch": "dispatch", "web/": "web/", "revert": "revert"} {
		all = append(all, spelling{"PUT", "/v1/job/" + path, "", strings.Replace(inside, `"web"`, `"`+id+`"`, 1)})
	}
	for _, method := range []string{"put", "PATCH", "DELETE", "GET", "CONNECT", "PUT "} {
		all = append(all, spelling{method, "/v1/jobs", "", inside})
	}
	for _, headers := range []string{
		"Content-Encoding: gzip\r\n", "Content-Encoding: deflate\r\n", "Content-Encoding: identity\r\n", "Content-Type: application/json; charset=utf-16\r\n",
		"Transfer-Encoding: chunked\r\n", "Content-Length: 1\r\n", "X-HTTP-Method-Override: GET\r\n", "X-Original-URL: /v1/jobs/parse\r\n", "Expect: 100-continue\r\n",
		"Connection: X-Nomad-Token, Content-Length\r\n", "Connection: Upgrade\r\nUpgrade: websocket\r\n", "Trailer: Namespace\r\n", "X-Nomad-Namespace: dev\r\n",
	} {
		all = append(all, spelling{"PUT", "/v1/jobs", headers, inside})
	}
	for _, body := range []string{
		job, beside, "", " ", "null", `{"Job":null}`, `[]`, "\ufeff" + inside, inside + ` trailing {`, inside + inside, "\x00" + inside, "\n\t " + inside,
		strings.Replace(inside, `"Job"`, `"jOB"`, 1), strings.Replace(inside, `"Namespace"`, `"namespace"`, 1), strings.Replace(inside, `"Namespace"`, `"name\u0073pace"`, 1),
		strings.Replace(inside, "TaskGroups", "Ta\u017fkGroups", 1), strings.Replace(inside, `"ID"`, `"Namespace":"dev","ID"`, 1), strings.Replace(inside, `"ID"`, `"namespace":null,"ID"`, 1),
		strings.Replace(beside, `"Region"`, `"namespace":"dev","Region"`, 1), `{"Job":{"ID":"web","TaskGroups":[]},` + inside[1:], `{"job":null,` + inside[1:], inside[:len(inside)-1] + `,"JOB":null}`,
		strings.Replace(inside, `"TaskGroups":[`, `"TaskGroups":[null,`, 1), strings.Replace(inside, `"Tasks":[`, `"tasks":null,"Tasks":[`, 1), strings.Replace(inside, "web", `w\u0065b`, 1), strings.Replace(inside, "web", "w\xffb", 1),
		strings.Replace(inside, `"prod"`, `{"a":1}`, 1), strings.Replace(inside, `"prod"`, `7`, 1), strings.Replace(inside, "\"Job\"", "\"\":{},\"Job\"", 1), strings.Replace(inside, `"Namespace":"prod"`, `"Namespace":"prod\u0000"`, 1),
	} {
		for _, target := range []string{"/v1/jobs", "/v1/validate/job", "/v1/job/web/plan?namespace=dev"} {
			all = append(all, spelling{"PUT", target, "", body})
		}
	}
	return all
}
