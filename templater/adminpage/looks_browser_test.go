package adminpage

import (
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/shared/browser"
)

func TestThePageWithoutScripts(t *testing.T) {
	s := open(t, shop(), time.Hour)
	s.page.Decisions.Add(decision("default", "web", "denied"))
	s.WithoutScripts()
	s.Resize(360, 740)
	s.show("/?q=prod")
	must.Eq(t, "prod/billing prod/ledger prod/old", browser.Value[string](s.Tab, rowsShown))
	must.False(t, browser.Value[bool](s.Tab, `[...document.querySelectorAll(".scripted, dialog")].some((e) => e.checkVisibility())`), must.Sprint("nothing that only a script can serve"))
	must.True(t, browser.Value[bool](s.Tab, `document.querySelector(".filter button").checkVisibility()`))
	must.Eq(t, "10", browser.Value[string](s.Tab, `document.querySelector("noscript meta").content`), must.Sprint("it reloads itself"))
	must.StrHasPrefix(t, "/job?", browser.Value[string](s.Tab, `document.querySelector("tbody .open").getAttribute("href")`))
	for _, path := range []string{"/", "/upgrades", "/admissions", "/job?namespace=default&id=cart"} {
		s.show(path)
		must.LessEq(t, 0, s.Overflow(), must.Sprint(path))
		must.SliceEmpty(t, s.Illegible(), must.Sprint(path))
	}
}

// What the page looks like: wide and narrow, light and dark. The pictures of the guide
// come from here, see make pictures.
func TestLooks(t *testing.T) {
	s := open(t, shop(), time.Hour)
	s.page.now = func() time.Time { return s.fleet.Look().At.Add(12 * time.Second) }
	for _, d := range []struct{ namespace, job, what string }{
		{"default", "cart", "injected"}, {"staging", "import", "denied"}, {"prod", "billing", "injected"}, {"default", "nightly", "passed"}, {"staging", "import", "denied"},
	} {
		s.page.Decisions.Add(decision(d.namespace, d.job, d.what))
	}
	for _, scheme := range []string{"light", "dark"} {
		s.Prefers("prefers-color-scheme", scheme)
		for name, path := range map[string]string{"fleet": "/", "upgrades": "/upgrades", "admissions": "/admissions", "job": "/job?namespace=default&id=cart"} {
			s.show(path)
			s.Sees(`document.documentElement.classList.contains("live")`)
			for kind, size := range map[string][2]int64{"wide": {1280, 760}, "phone": {360, 740}} {
				s.Resize(size[0], size[1])
				title := "admin-" + name + "-" + kind + "-" + scheme
				must.SliceEmpty(t, s.Illegible(), must.Sprint(title))
				must.LessEq(t, 0, s.Overflow(), must.Sprint(title))
				s.Picture(title)
			}
		}
		s.Resize(1280, 760)
		s.Type("?")
		must.SliceEmpty(t, s.Illegible())
	}
	const background = `getComputedStyle(document.body).backgroundColor`
	s.Prefers("prefers-color-scheme", "light")
	light := browser.Value[string](s.Tab, background)
	s.Prefers("prefers-color-scheme", "dark")
	must.NotEq(t, light, browser.Value[string](s.Tab, background))
}
