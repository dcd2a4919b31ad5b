package admission

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/shoenig/test/must"
)

// asked makes Nomad return a token's accessor and counts the requests.
func asked(f *fixture) *int {
	count := new(int)
	f.proxy.Accessors = &Accessors{}
	f.answer = func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/acl/token/self" {
			_, _ = io.WriteString(w, `{}`) // a registration's response
			return
		}
		f.Lock()
		*count++
		f.Unlock()
		switch {
		case r.Header.Get("X-Nomad-Token") == "h3ader":
			_, _ = io.WriteString(w, `{"AccessorID":"acc-header","SecretID":"h3ader"}`)
		case r.Header.Get("Authorization") == "Bearer b3arer":
			_, _ = io.WriteString(w, `{"AccessorID":"acc-bearer","SecretID":"b3arer"}`)
		default:
			http.Error(w, "ACL token not found", http.StatusForbidden)
		}
	}
	return count
}

func TestAccessors_JobSubmitter(t *testing.T) {
	f := start(t, noBatch)
	questions := asked(f)
	var told []string
	f.proxy.Decided = func(d Decision) { told = append(told, d.Accessor) }
	for _, headers := range [][]string{
		{"X-Nomad-Token", "h3ader", "Authorization", "Bearer b3arer"}, {"Authorization", "Bearer b3arer"}, {}, {"X-Nomad-Token", "unknown"},
	} {
		for range 3 {
			resp, _ := f.send(http.MethodPut, "/v1/jobs", jobNamed("web"), headers...)
			must.Eq(t, http.StatusOK, resp.StatusCode)
		}
	}
	must.Eq(t, []string{"acc-header", "acc-header", "acc-header", "acc-bearer", "acc-bearer", "acc-bearer", "", "", "", "", "", ""}, told)
	must.Eq(t, 3, *questions, must.Sprint("each token is asked about once"))
	must.StrContains(t, f.audit.String(), `"accessor":"acc-header"`)
	for _, secret := range []string{"h3ader", "b3arer", "unknown"} {
		must.StrNotContains(t, f.audit.String(), secret)
	}
	f.send(http.MethodGet, "/v1/jobs", "", "X-Nomad-Token", "another")
	must.Eq(t, 3, *questions, must.Sprint("nobody asks about requests without a job"))
}

func TestAccessors_CacheLimit(t *testing.T) {
	a := &Accessors{}
	for i := range maxAccessors + 10 {
		key := sha256.Sum256(fmt.Append(nil, i))
		a.remember(key, "x")
		must.LessEq(t, maxAccessors, len(a.known))
		id, ok := a.remembered(key)
		must.True(t, ok)
		must.Eq(t, "x", id)
	}
}

// A token is sent only to Nomad, even if Nomad redirects.
func TestAccessors_Redirect(t *testing.T) {
	f := start(t, noBatch)
	elsewhere := &nomad{}
	other := httptest.NewServer(elsewhere)
	t.Cleanup(other.Close)
	f.proxy.Accessors = &Accessors{}
	f.answer = func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/acl/token/self" {
			http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
		}
	}
	f.send(http.MethodPut, "/v1/jobs", jobNamed("web"), "X-Nomad-Token", "h3ader")
	must.Eq(t, 2, f.count())
	must.Zero(t, elsewhere.count())
}
