package main

import (
	"os"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/shared/browser"
)

// What the tests of the tree ask of the page.
const (
	visibleRows = `[...document.querySelectorAll("tbody tr")].filter((r) => !r.hidden).map((r) => r.dataset.pid ?? r.dataset.key).join(" ")`
	chosenRow   = `(() => { const r = document.querySelector('[aria-selected="true"]'); return r ? r.dataset.pid ?? r.dataset.key : "" })()`
	focusedRow  = `document.activeElement.dataset.pid ?? document.activeElement.dataset.key ?? document.activeElement.localName`
)

func TestTreeByKeys(t *testing.T) {
	s := openFakePod(t)
	s.Resize(1280, 760)
	s.Go(s.url + "/")
	see := func(expression, want string) {
		t.Helper()
		must.Eq(t, want, browser.Value[string](s.Tab, expression))
	}
	s.play()
	must.Eq(t, "treegrid", browser.Value[string](s.Tab, `document.querySelector("table").getAttribute("role")`))
	whole := "task-app 20 27 53 28 52 task-tls-proxy 33 35 task-(pod) 1 task-topz 40"
	see(`document.querySelector('[data-pid="53"]').ariaLevel`, "4")
	s.Sees(visibleRows + ` !== ""`)
	first := browser.Value[string](s.Tab, visibleRows)
	must.StrContains(t, first, "task-app 20 ")

	s.Type("N") // by PID, upwards: an order that does not move
	s.Sees(`document.querySelector(".c-pid").ariaSort === "ascending"`)
	whole = "task-(pod) 1 task-app 20 27 53 28 52 task-tls-proxy 33 35 task-topz 40"
	s.Sees(visibleRows + ` === "` + whole + `"`)

	s.Type("jjj")
	see(chosenRow, "task-app")
	see(focusedRow, "task-app")
	s.Type("h") // closes it
	see(visibleRows, "task-(pod) 1 task-app task-tls-proxy 33 35 task-topz 40")
	see(`document.activeElement.ariaExpanded`, "false")
	s.play() // stays closed, and chosen
	see(visibleRows, "task-(pod) 1 task-app task-tls-proxy 33 35 task-topz 40")
	see(focusedRow, "task-app")
	s.Type("lll") // opens it, goes in, goes on
	see(chosenRow, "27")
	s.Type("\r")
	must.True(t, browser.Value[bool](s.Tab, `document.getElementById("details").checkVisibility()`))
	see(`document.querySelector("#details h2").textContent`, "python3 · 27")
	s.Type("j")
	see(`document.querySelector("#details h2").textContent`, "[convert] · 53")
	s.Type("\x1b")
	must.False(t, browser.Value[bool](s.Tab, `document.getElementById("details").checkVisibility()`))
	s.Type("hh") // out, and closes the parent
	see(chosenRow, "27")
	see(visibleRows, "task-(pod) 1 task-app 20 27 28 52 task-tls-proxy 33 35 task-topz 40")
	s.Type("c")
	see(visibleRows, "task-(pod) task-app task-tls-proxy task-topz")
	see(focusedRow, "task-app")
	s.Type("e")
	see(visibleRows, whole)
	s.Type("G")
	see(chosenRow, "40")
	s.Type("g")
	see(chosenRow, "task-(pod)")

	s.Type("GR") // the last goes to the top, and takes the focus along
	s.Sees(`document.querySelector("tbody tr").dataset.key === "task-topz"`)
	see(focusedRow, "40")
	s.Type("t")
	s.Sees(`document.querySelector("table").getAttribute("role") === "grid"`)
	s.Type("t")
	s.Sees(`document.querySelector("table").getAttribute("role") === "treegrid"`)
	s.Type("?")
	must.True(t, browser.Value[bool](s.Tab, `document.getElementById("help").open`))
	s.Type("\x1b")
	must.False(t, browser.Value[bool](s.Tab, `document.getElementById("help").open`))
	onlyOwn(t, s.Tab, s.url)
}

func TestFilterKeepsTheWayToWhatItFinds(t *testing.T) {
	s := openFakePod(t)
	s.Go(s.url + "/?sort=pid")
	s.Type("c/thumbnail")
	s.Sees(visibleRows + ` === "task-app 20 28 52"`)
	must.Eq(t, "20 28", browser.Value[string](s.Tab, `[...document.querySelectorAll("tr.context")].map((r) => r.dataset.pid).join(" ")`))
	s.Type("\x1b") // clears it
	s.Sees(`document.querySelectorAll("tr[data-pid]").length === 9`)
	must.Eq(t, "input", browser.Value[string](s.Tab, focusedRow))
	s.Type("\x1b") // leaves it
	must.Eq(t, "task-(pod)", browser.Value[string](s.Tab, focusedRow))
	must.False(t, browser.Value[bool](s.Tab, `location.search.includes("q=")`))
}

// What a reader has done to the page is there after a refresh.
func TestARefreshDisturbsNobody(t *testing.T) {
	s := openFakePod(t)
	s.Resize(500, 300)
	s.Go(s.url + "/?sort=pid")
	s.Do(`globalThis.row = document.querySelector('[data-pid="35"]'); row.querySelector("td:last-child").click(); scrollTo(0, 400)`)
	scrolled := browser.Value[int](s.Tab, `Math.round(scrollY)`)
	must.Positive(t, scrolled)
	for range 3 {
		s.play()
	}
	must.Eq(t, scrolled, browser.Value[int](s.Tab, `Math.round(scrollY)`))
	must.Eq(t, "35", browser.Value[string](s.Tab, chosenRow))
	must.Eq(t, "35", browser.Value[string](s.Tab, focusedRow))
	must.True(t, browser.Value[bool](s.Tab, `row === document.querySelector('[data-pid="35"]')`), must.Sprint("it is the same element"))
	must.Eq(t, 4, browser.Value[int](s.Tab, `row.querySelector(".line").getAttribute("d").split("L").length`), must.Sprint("a line of four samples"))
	s.Type("\x1b")
	must.Eq(t, "35", browser.Value[string](s.Tab, focusedRow))
}

func TestLettersCanBeTurnedOff(t *testing.T) {
	s := openFakePod(t)
	s.Go(s.url + "/?sort=pid")
	s.Type("?")
	s.Do(`document.getElementById("letters").click()`)
	s.Type("\x1b")
	s.Go(s.url + "/?sort=pid") // it is remembered
	s.Type("c")
	must.StrContains(t, browser.Value[string](s.Tab, visibleRows), " 35 ")
	s.Do(`document.querySelector('[data-pid="35"]').focus()`)
	s.Type("c")
	must.StrNotContains(t, browser.Value[string](s.Tab, visibleRows), " 35 ")
}

// Keys that scroll, press and follow stay with the browser where the table has
// no use for them.
func TestOtherKeysAreTheBrowsers(t *testing.T) {
	s := openFakePod(t)
	s.Go(s.url + "/?sort=pid")
	s.Do(`globalThis.taken = []; addEventListener("keydown", (e) => taken.push(e.defaultPrevented))`)
	s.Type(" \rx")
	s.Do(`document.getElementById("pause").focus()`)
	s.Type("\r")
	must.Eq(t, "Resume", browser.Value[string](s.Tab, `document.getElementById("pause").textContent`))
	must.Eq(t, "false false false false", browser.Value[string](s.Tab, `taken.join(" ")`))
	s.Do(`document.querySelector("tbody tr").focus()`)
	s.Type(" ")
	must.Eq(t, "true", browser.Value[string](s.Tab, `String(taken.at(-1))`))
}

func TestColours(t *testing.T) {
	s := openFakePod(t)
	s.Go(s.url + "/")
	const page = `getComputedStyle(document.body).backgroundColor`
	s.Prefers("prefers-color-scheme", "light")
	light := browser.Value[string](s.Tab, page)
	s.Prefers("prefers-color-scheme", "dark")
	dark := browser.Value[string](s.Tab, page)
	must.NotEq(t, light, dark)

	s.Prefers("prefers-color-scheme", "light")
	s.Type("d")
	must.Eq(t, dark, browser.Value[string](s.Tab, page))
	s.Go(s.url + "/")
	must.Eq(t, dark, browser.Value[string](s.Tab, page), must.Sprint("it is remembered"))
	must.Eq(t, "Dark", browser.Value[string](s.Tab, `document.getElementById("theme").textContent`))
	s.Prefers("prefers-color-scheme", "dark")
	s.Do(`document.getElementById("theme").click()`)
	must.Eq(t, light, browser.Value[string](s.Tab, page))
	s.Do(`document.getElementById("theme").click()`)
	must.Eq(t, dark, browser.Value[string](s.Tab, page), must.Sprint("as the system again"))
}

// What the page looks like: wide and narrow, light and dark. The pictures of
// the README come from here, see make pictures.
func TestLooks(t *testing.T) {
	s := openFakePod(t)
	s.Resize(1280, 760)
	s.Go(s.url + "/")
	steps := 3
	if os.Getenv(browser.Pictures) != "" {
		steps = 60
	}
	for range steps {
		s.play()
	}
	check := func(name string) {
		t.Helper()
		must.SliceEmpty(t, s.Illegible(), must.Sprint(name))
		must.LessEq(t, 0, s.Overflow(), must.Sprint(name))
		s.Picture(name)
	}
	for _, scheme := range []string{"light", "dark"} {
		s.Prefers("prefers-color-scheme", scheme)
		s.Resize(1280, 760)
		check("topz-" + scheme)
		s.Resize(360, 740)
		check("topz-phone-" + scheme)
		s.Do(`document.querySelector('[data-pid="27"] td:last-child').click()`)
		check("topz-phone-details-" + scheme)
		s.Resize(1280, 760)
		check("topz-details-" + scheme)
		s.Do(`document.querySelector("#details button").click(); document.getElementById("keys").click()`)
		check("topz-keys-" + scheme)
		s.Type("\x1bt")
		s.Sees(`document.querySelector("table").classList.contains("list")`)
		check("topz-list-" + scheme)
		s.Type("t")
		s.Sees(`document.querySelector("table").classList.contains("tree")`)
	}
	s.Prefers("prefers-reduced-motion", "reduce")
	must.Eq(t, 0, browser.Value[int](s.Tab, `document.getAnimations().length`))
	must.Eq(t, "0s none", browser.Value[string](s.Tab, `getComputedStyle(document.querySelector(".twisty"), "::before").transitionDuration + " " + getComputedStyle(document.querySelector(".pulse")).animationName`))
}
