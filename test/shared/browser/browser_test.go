package browser_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/shared/browser"
)

// The checks that other tests use find each problem.
func TestTab_FindsProblems(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(`<body style="background: #fff"><p id=a style="color: #777">grey</p><p>black</p>
			<p style="color: #777; background: #000">grey on black</p><p hidden style="color: #fff">unseen</p>
			<div style="width: 500px">wide</div><img src="http://127.0.0.1:1/elsewhere">
			<script>document.title = "ran"</script>`))
	}))
	t.Cleanup(server.Close)
	b := browser.Open(t)
	b.Resize(400, 300)
	b.Go(server.URL)
	must.Eq(t, []string{"4.48 p.: grey"}, b.Illegible())
	must.Positive(t, b.Overflow())
	must.SliceContains(t, b.Asked(), "http://127.0.0.1:1/elsewhere")
	must.Eq(t, "ran", browser.Value[string](b, `document.title`))
	b.WithoutScripts()
	b.Go(server.URL)
	must.Eq(t, "", browser.Value[string](b, `document.title`))
}

// An evaluation that is in progress when the page reloads itself is repeated on the new page.
func TestValue_PageReloads(t *testing.T) {
	titles := []string{"first", "second"}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprintf(w, `<title>%s</title>`, titles[0])
		if len(titles) > 1 {
			_, _ = fmt.Fprint(w, `<meta http-equiv="refresh" content="1">`)
			titles = titles[1:]
		}
	}))
	t.Cleanup(server.Close)
	b := browser.Open(t)
	b.Go(server.URL)
	must.Eq(t, "second", browser.Value[string](b,
		`new Promise((done) => { if (document.title === "second") { done(document.title) } })`))
}
