package sidecardoc

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/shared/browser"
)

// openPages shows a document in a browser, as a file: it needs no server.
func openPages(t *testing.T, pages []*Page) *browser.Tab {
	t.Helper()
	document, err := HTML(pages)
	must.NoError(t, err)
	file := filepath.Join(t.TempDir(), "sidecars.html")
	must.NoError(t, os.WriteFile(file, document, 0o644))
	b := browser.Open(t)
	b.Go("file://" + file)
	must.Eq(t, []string{"file://" + file}, b.Asked(), must.Sprint("one file, and nothing else"))
	return b
}

func TestCatalogInABrowser(t *testing.T) {
	pages := builtin(t)
	b := openPages(t, pages)
	must.NotEq(t, "normal", browser.Value[string](b, `getComputedStyle(document.querySelector("h1")).letterSpacing`),
		must.Sprint("the policy lets its own style pass"))

	// Every link leads to something that is there, and every sidecar is linked
	// from the list at the side and from the table on top.
	must.SliceEmpty(t, browser.Value[[]string](b, `[...document.querySelectorAll("a")].map((a) => a.getAttribute("href"))
		.filter((href) => href[0] !== "#" || !document.getElementById(href.slice(1)))`))
	for _, p := range pages {
		must.Eq(t, 2, browser.Value[int](b, fmt.Sprintf(`document.querySelectorAll(':is(.side, .index) a[href="#%s"]').length`, p.Anchor())))
	}
	must.Eq(t, 0, browser.Value[int](b, `(() => { const ids = [...document.querySelectorAll("[id]")].map((e) => e.id); return ids.length - new Set(ids).size })()`))
	last := pages[len(pages)-1]
	b.Do(fmt.Sprintf(`document.querySelector('.side a[href="#%s"]').click()`, last.Anchor()))
	b.Sees(fmt.Sprintf(`location.hash === "#%s" && document.getElementById("%s").getBoundingClientRect().top < innerHeight`, last.Anchor(), last.Anchor()))

	for _, scheme := range []string{"light", "dark"} {
		b.Prefers("prefers-color-scheme", scheme)
		for _, width := range []int64{1280, 768, 360} {
			b.Resize(width, 800)
			must.LessEq(t, 0, b.Overflow(), must.Sprint(width))
			must.SliceEmpty(t, b.Illegible(), must.Sprint(scheme, width))
			b.Do(`scrollTo(0, 0)`)
			b.Picture(fmt.Sprintf("docs-%s-%d", scheme, width))
			b.Do(fmt.Sprintf(`document.getElementById("%s").scrollIntoView()`, last.Anchor()))
			b.Picture(fmt.Sprintf("docs-%s-%d-sidecar", scheme, width))
		}
	}
}

// A definition may come from anywhere, and names things as it likes.
func TestHostileDefinitionInABrowser(t *testing.T) {
	b := openPages(t, []*Page{hostilePage(t)})
	must.Eq(t, 0, browser.Value[int](b, `document.querySelectorAll("script, img, i, a:not([href^='#'])").length`))
	b.Resize(360, 800)
	must.LessEq(t, 0, b.Overflow())
}

// The policy holds without the escaping: what gets in by other ways does nothing.
func TestPolicyStopsWhatIsNotThePage(t *testing.T) {
	document, err := HTML(builtin(t))
	must.NoError(t, err)
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			if r.URL.Path != "/favicon.ico" { // the browser's own question
				asked.Add(1)
			}
			return
		}
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write(document)
		_, _ = fmt.Fprint(w, `<script>document.title = "ran"</script><style>body { display: none }</style><img src="/img"><link rel="stylesheet" href="/css">`)
	}))
	t.Cleanup(server.Close)
	b := browser.Open(t)
	b.Go(server.URL)
	must.Eq(t, "Sidecars", browser.Value[string](b, `document.title`))
	must.True(t, browser.Value[bool](b, `document.querySelector("h1").checkVisibility()`))
	must.Zero(t, asked.Load())
}
