package sidecardoc

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/shared/browser"
)

// openSite shows a site in a browser, as a file: it needs no server.
func openSite(t *testing.T, entries []*Entry, at string) *browser.Tab {
	t.Helper()
	document, err := Site(entries)
	must.NoError(t, err)
	return openDocument(t, document, at)
}

func openDocument(t *testing.T, document []byte, at string) *browser.Tab {
	t.Helper()
	file := filepath.Join(t.TempDir(), "sidecars.html")
	must.NoError(t, os.WriteFile(file, document, 0o644))
	b := browser.Open(t)
	t.Cleanup(func() {
		for _, asked := range b.Asked() {
			must.StrHasPrefix(t, "file://"+file, asked, must.Sprint("one file, and nothing else"))
		}
	})
	b.Go("file://" + file + at)
	return b
}

// views returns the ids of the visible views.
func views(b *browser.Tab) []string {
	return browser.Value[[]string](b, `[...document.querySelectorAll("main > section")].filter((e) => e.checkVisibility()).map((e) => e.id)`)
}

func TestSite_Views(t *testing.T) {
	entries := catalog(t)
	b := openSite(t, entries, "")
	must.Eq(t, []string{"_top"}, views(b))
	must.NotEq(t, "normal", browser.Value[string](b, `getComputedStyle(document.querySelector("h1")).letterSpacing`),
		must.Sprint("the policy lets its own style pass"))

	// Every link leads somewhere, and every sidecar is linked from the list at the side, the
	// index and its pattern.
	must.SliceEmpty(t, browser.Value[[]string](b, `[...document.querySelectorAll("a:not([href^='https://'])")].map((a) => a.getAttribute("href"))
		.filter((href) => href[0] !== "#" || !document.getElementById(href.slice(1)))`))
	must.Eq(t, 0, browser.Value[int](b, `(() => { const ids = [...document.querySelectorAll("[id]")].map((e) => e.id); return ids.length - new Set(ids).size })()`))
	for _, e := range entries {
		must.Eq(t, 3, browser.Value[int](b, fmt.Sprintf(`document.querySelectorAll(':is(.side, .index) a[href="#%s"]').length`, e.Name)))
	}

	b.Do(`document.querySelector('.side a[href="#broker"]').click()`)
	b.Sees(`location.hash === "#broker" && document.title === "broker 1.0.0 – Sidecar catalog"`)
	must.Eq(t, []string{"broker"}, views(b))
	must.Eq(t, "broker", browser.Value[string](b, `document.activeElement.id`))
	must.Eq(t, []string{"broker"}, browser.Value[[]string](b, `[...document.querySelectorAll("[aria-current]")].map((e) => e.textContent)`))
	b.Do(`location.hash = "#broker_parameter_retries"`)
	b.Sees(`(() => { const r = document.querySelector("tr:target")?.getBoundingClientRect(); return r && r.top > 0 && r.bottom < innerHeight })()`)
	must.Eq(t, []string{"broker"}, views(b))
	b.Do(`history.go(-2)`)
	b.Sees(`document.title === "Sidecar catalog"`)
	must.Eq(t, []string{"_top"}, views(b))
	for _, name := range []string{"sidecar", "ambassador", "adapter"} {
		b.Do(fmt.Sprintf(`location.hash = "#_%s"`, name))
		b.Sees(fmt.Sprintf(`document.querySelector("#_%s .scene").checkVisibility()`, name))
	}
}

func TestSite_Search(t *testing.T) {
	entries := catalog(t)
	b := openSite(t, entries, "#broker")
	results := func() []string {
		return browser.Value[[]string](b, `[...document.querySelectorAll("#_results h2")].map((e) => e.textContent.split(" ")[0])`)
	}
	said := func() string { return browser.Value[string](b, `document.getElementById("_status").textContent`) }

	b.Type("/red")
	must.Eq(t, []string{"_results"}, views(b))
	all := results()
	must.SliceContains(t, all, "shard-proxy")
	b.Type("is hashing")
	b.Sees(`document.querySelectorAll("#_results li").length > 0`)
	narrowed := results()
	must.Less(t, len(all), len(narrowed))
	must.Eq(t, fmt.Sprintf("%d of %d definitions match.", len(narrowed), len(entries)), said())

	b.Type(" nosuchword<b>")
	must.SliceEmpty(t, results())
	must.Eq(t, "No definition matches “redis hashing nosuchword<b>”. Try fewer or shorter words.", said())
	must.Eq(t, said(), browser.Value[string](b, `document.querySelector("#_results .lead").textContent`))
	b.Picture("site-empty")

	b.Type("\x1b")
	must.Eq(t, []string{"broker"}, views(b))
	b.Type("broker")
	must.Eq(t, "broker", results()[0], must.Sprint("the name is the best match"))
	b.Type("\x1bconnect_timeout")
	must.SliceContains(t, browser.Value[[]string](b, `[...document.querySelectorAll("#_results .parts a")].map((a) => a.hash)`), "#broker_parameter_connect_timeout")
	b.Picture("site-search")
	b.Do(`document.querySelector('#_results a[href="#split_parameter_connect_timeout"]').click()`)
	b.Sees(`document.querySelector("tr:target")?.checkVisibility()`)
	must.Eq(t, []string{"split"}, views(b))
	must.Eq(t, "", browser.Value[string](b, `document.getElementById("_query").value`))
	b.Type("/topz\r")
	b.Sees(`location.hash === "#topz"`)
	must.Eq(t, []string{"topz"}, views(b))
}

// Every button copies what its block shows, by the keyboard, also on a page without TLS, which
// has no clipboard of its own.
func TestSite_Copy(t *testing.T) {
	entries := catalog(t)
	for _, secure := range []bool{true, false} {
		t.Run(fmt.Sprintf("secure=%t", secure), func(t *testing.T) {
			b := openSite(t, entries, "#broker")
			if !secure {
				b.Do(`Object.defineProperty(navigator, "clipboard", {value: undefined})`)
			}
			b.Do(`document.querySelector("#broker_part_example .copy").focus()`)
			b.Type("\r")
			b.Sees(`document.activeElement.textContent === "Copied"`)
			must.Eq(t, "Copied", browser.Value[string](b, `document.getElementById("_status").textContent`))
			b.Do(`const area = document.createElement("textarea"); area.id = "pasted"; document.body.append(area); area.focus()`)
			b.Paste()
			b.Sees(`document.getElementById("pasted").value !== ""`)
			broker := entries[slices.IndexFunc(entries, func(e *Entry) bool { return e.Name == "broker" })]
			must.Eq(t, broker.shown()[0].HCL, browser.Value[string](b, `document.getElementById("pasted").value`))
			b.Sees(`document.querySelector("#broker_part_example .copy").textContent === "Copy"`)
		})
	}
}

func TestSite_Keyboard(t *testing.T) {
	b := openSite(t, catalog(t), "")
	reached := map[string]bool{}
	for range 12 {
		b.Type("\t")
		must.True(t, browser.Value[bool](b, `getComputedStyle(document.activeElement).outlineStyle !== "none"`), must.Sprint("the focus is visible"))
		reached[browser.Value[string](b, `document.activeElement.id || document.activeElement.getAttribute("href") || document.activeElement.className`)] = true
	}
	for _, want := range []string{"#_top", "_query", "#_sidecar", "#_ambassador", "#_adapter", "copy", "#backup"} {
		must.MapContainsKey(t, reached, want)
	}
	must.SliceEmpty(t, browser.Value[[]string](b, `[...document.querySelectorAll("button, a, input, nav, section, [role=img], [role=group]")]
		.filter((e) => !(e.textContent.trim() || e.labels?.length || e.ariaLabel)).map((e) => e.outerHTML)`), must.Sprint("without a name"))
	must.SliceEmpty(t, browser.Value[[]string](b, `[...document.querySelectorAll("main > section")].filter((s) => s.querySelectorAll("h1").length !== 1).map((s) => s.id)`))
	b.Prefers("prefers-reduced-motion", "reduce")
	must.SliceEmpty(t, browser.Value[[]string](b, `[...document.querySelectorAll("*")].filter((e) => { const s = getComputedStyle(e); return s.animationName !== "none" || s.transitionDuration !== "0s" || s.scrollBehavior === "smooth" }).map((e) => e.outerHTML)`))
}

func TestSite_WithoutScripts(t *testing.T) {
	document, err := Site(catalog(t))
	must.NoError(t, err)
	b := openDocument(t, document, "")
	address := browser.Value[string](b, `location.href`)
	b.WithoutScripts()
	b.Go(address + "?again#_adapter")
	must.Eq(t, []string{"_adapter"}, views(b))
	must.Eq(t, 0, browser.Value[int](b, `[...document.querySelectorAll("button, input")].filter((e) => e.checkVisibility()).length`))
}

func TestLooks(t *testing.T) {
	b := openSite(t, catalog(t), "")
	for _, scheme := range []string{"light", "dark"} {
		b.Prefers("prefers-color-scheme", scheme)
		for _, width := range []int64{1280, 768, 320} {
			b.Resize(width, 800)
			for _, view := range []string{"_top", "_sidecar", "_ambassador", "_adapter", "broker", "topz", "tls-proxy"} {
				b.Do(fmt.Sprintf(`location.hash = "#%s"`, view))
				b.Sees(fmt.Sprintf(`document.getElementById("%s").checkVisibility()`, view))
				must.LessEq(t, 0, b.Overflow(), must.Sprint(view, width))
				must.SliceEmpty(t, b.Illegible(), must.Sprint(view, scheme, width))
				b.Picture(fmt.Sprintf("site-%s-%s-%d", view, scheme, width))
			}
		}
	}
}

// A definition and its README may come from anywhere, with any content.
func TestSite_Hostile(t *testing.T) {
	b := openSite(t, hostileEntries(t), "#x-1.2.3")
	must.Eq(t, 1, browser.Value[int](b, `document.querySelectorAll("script").length`), must.Sprint("its own"))
	must.Eq(t, 0, browser.Value[int](b, `document.querySelectorAll("img, i, iframe, form, object, style ~ style, [style], [onerror], [onclick], a:not([href^='#']):not([href^='https://'])").length`))
	must.StrNotContains(t, browser.Value[string](b, `document.title`), "ran")
	for _, width := range []int64{1280, 320} {
		b.Resize(width, 800)
		must.LessEq(t, 0, b.Overflow(), must.Sprint(width))
	}
	b.Picture("site-hostile")
	b.Type("/<script>")
	b.Sees(`document.querySelectorAll("#_results li").length === 2`)
	must.Eq(t, 1, browser.Value[int](b, `document.querySelectorAll("script").length`))
}

func TestPage_Looks(t *testing.T) {
	for _, page := range []*Page{catalog(t)[0].Page, hostilePage(t)} {
		document, err := HTML(page)
		must.NoError(t, err)
		b := openDocument(t, document, "")
		must.Eq(t, 0, browser.Value[int](b, `document.querySelectorAll("script, img, i, a:not([href^='#'])").length`))
		for _, scheme := range []string{"light", "dark"} {
			b.Prefers("prefers-color-scheme", scheme)
			for _, width := range []int64{1280, 768, 360} {
				b.Resize(width, 800)
				must.LessEq(t, 0, b.Overflow(), must.Sprint(width))
				must.SliceEmpty(t, b.Illegible(), must.Sprint(scheme, width))
				b.Picture(fmt.Sprintf("docs-%s-%s-%d", page.Name, scheme, width))
			}
		}
	}
}

// The policy holds without the escaping: what gets in by other ways does nothing.
func TestPolicyStopsWhatIsNotThePage(t *testing.T) {
	document, err := Site(catalog(t))
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
	must.Eq(t, "Sidecar catalog", browser.Value[string](b, `document.title`))
	must.True(t, browser.Value[bool](b, `document.querySelector("#_top h1").checkVisibility()`))
	must.Zero(t, asked.Load())
}
