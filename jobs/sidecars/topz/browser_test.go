package main

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/internal/podprocs/procstest"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/browser"
)

// onlyOwn checks that the page asked for nothing but what its own server has.
func onlyOwn(t *testing.T, b *browser.Tab, url string) {
	t.Helper()
	for _, asked := range b.Asked() {
		must.StrHasPrefix(t, url+"/", asked)
	}
}

func seesFirst(b *browser.Tab, pid string) {
	b.Sees(`document.querySelector("tbody tr")?.dataset.pid === "` + pid + `"`)
}

// click follows a link by its data-nav. A refresh may replace the link between
// a look-up and a mouse event, so the page does it in one step.
func click(b *browser.Tab, nav string) {
	b.Do(`document.querySelector('[data-nav="` + nav + `"]').click()`)
}

func TestPageInABrowser(t *testing.T) {
	b := browser.Open(t)
	dir := procstest.Dir(t, podProcs()...)
	url := start(t, map[string]string{"NOMAD_ALLOC_ID": allocID, "NOMAD_JOB_NAME": "web", "NOMAD_GROUP_NAME": "front"}, "-proc", dir)

	b.Resize(1280, 720)
	b.Go(url + "/?sort=pid&view=list")
	seesFirst(b, "1")

	click(b, "sort-memory")
	seesFirst(b, "20")
	click(b, "sort-memory")
	seesFirst(b, "31")
	must.StrHasSuffix(t, "/?order=asc&sort=memory&view=list", browser.Value[string](b, `location.href`))

	b.Type("/webapp")
	b.Sees(`document.querySelectorAll("tr[data-pid]").length === 1`)
	seesFirst(b, "20")
	b.Sees(`document.getElementById("announce").textContent === "1 process matches"`)
	click(b, "task-topz")
	b.Sees(`document.querySelector(".none") !== null`)
	click(b, "reset")
	b.Sees(`document.querySelectorAll("tr[data-pid]").length === 5`)
	must.Eq(t, "", browser.Value[string](b, `document.querySelector("input[type=search]").value`))

	procstest.Process{PID: 61, Comm: "late"}.WriteTo(t, dir)
	b.Sees(`document.querySelector('tr[data-pid="61"]') !== null`)
	must.NoError(t, os.RemoveAll(filepath.Join(dir, "61")))
	b.Sees(`document.querySelector('tr[data-pid="61"]') === null`)
	onlyOwn(t, b, url)
}

// A process names itself as it likes. Its name is text, whatever way it comes
// into the page, and the policy would stop it if it were not.
func TestHostileNamesAreText(t *testing.T) {
	s := openFakePod(t)
	s.Go(s.url + "/")
	s.play()
	name := `<img src=x onerror=alert(1)> --thumbnail "quoted" & <b>bold</b>`
	must.Eq(t, name, browser.Value[string](s.Tab, `document.querySelector('[data-pid="52"] code').textContent`))
	s.Do(`document.querySelector('[data-pid="52"] td').click()`)
	must.Eq(t, name, browser.Value[string](s.Tab, `document.querySelector("#details .command").textContent`))
	must.Eq(t, 0, browser.Value[int](s.Tab, `document.querySelectorAll(":is(table, #details) :is(img, script)").length`))
	onlyOwn(t, s.Tab, s.url)
	must.True(t, browser.Value[bool](s.Tab, `(() => { try { document.querySelector("footer").innerHTML = "<p>"; return false } catch { return true } })()`),
		must.Sprint("no script may make HTML of text"))
}

func TestPageWithoutScriptsInABrowser(t *testing.T) {
	b := browser.Open(t)
	dir := procstest.Dir(t, podProcs()...)
	url := start(t, map[string]string{"NOMAD_ALLOC_ID": allocID}, "-proc", dir)
	b.WithoutScripts()
	b.Resize(360, 740)
	b.Go(url + "/")
	must.Eq(t, 5, browser.Value[int](b, `[...document.querySelectorAll("tr[data-pid]")].filter((r) => r.checkVisibility()).length`))
	must.Eq(t, "", browser.Value[string](b, `document.querySelector("table").getAttribute("role") ?? ""`))
	must.False(t, browser.Value[bool](b, `[...document.querySelectorAll(".scripted, aside, dialog, .twisty")].some((e) => e.checkVisibility())`),
		must.Sprint("nothing that only a script can serve"))
	must.True(t, browser.Value[bool](b, `document.querySelector("tbody .c-started").checkVisibility()`), must.Sprint("all columns, as nothing else shows them"))
	must.LessEq(t, 0, b.Overflow(), must.Sprint("only the table scrolls sideways"))
	must.SliceEmpty(t, b.Illegible())
	procstest.Process{PID: 61, Comm: "late"}.WriteTo(t, dir)
	b.Sees(`document.querySelector('tr[data-pid="61"]') !== null`) // it reloads itself
	onlyOwn(t, b, url)
}

func TestOffline(t *testing.T) {
	m := podMonitor(t)
	m.interval = 100 * time.Millisecond
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must.NoError(t, err)
	address := listener.Addr().String()
	serveOn := func(listener net.Listener) (stop func()) {
		server := &http.Server{Handler: newHandler(m)}
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = server.Serve(listener) // until it is closed
		}()
		return func() {
			_ = server.Close()
			<-done
		}
	}
	b := browser.Open(t)
	stop := serveOn(listener)
	b.Go("http://" + address + "/")
	b.Sees(`document.getElementById("stale").textContent.startsWith("No new sample since 22:15:00 UTC")`)
	must.Eq(t, "", browser.Value[string](b, `document.getElementById("problem").textContent`))

	stop()
	b.Sees(`document.getElementById("problem").textContent.startsWith("Offline: topz has not answered since ")`)
	must.Eq(t, 5, browser.Value[int](b, `document.querySelectorAll("tr[data-pid]").length`), must.Sprint("what was known stays"))
	must.Eq(t, "status", browser.Value[string](b, `document.getElementById("problem").getAttribute("role")`))
	b.Do(`globalThis.said = document.getElementById("problem").firstChild`)

	listener, err = net.Listen("tcp", address)
	must.NoError(t, err)
	// It was read out once, not with every attempt.
	must.True(t, browser.Value[bool](b, `said === document.getElementById("problem").firstChild`))
	stop = serveOn(listener)
	defer stop()
	b.Sees(`document.getElementById("problem").textContent === ""`)
}

// The history is in the page, and bounded.
func TestHistoryIsBounded(t *testing.T) {
	s := openFakePod(t)
	s.Go(s.url + "/")
	const fill = `(async () => {
		const { History } = await import("/assets/history.js");
		const history = new History(1000);
		const row = (key) => ({ dataset: { key, cpu: "1", memory: "2" } });
		%s
		return history.size.join(" ");
	})()`
	in := func(script string) string {
		return browser.Value[string](s.Tab, strings.Replace(fill, "%s", script, 1))
	}
	must.Eq(t, "1 60", in(`for (let i = 1; i <= 500; i++) history.record([row("a")], i * 1000);`))
	must.Eq(t, "1 2", in(`history.record([row("gone"), row("a")], 1000); history.record([row("a")], 100000); history.record([row("a")], 101000);`))
	must.Eq(t, "1 1", in(`history.record([row("a")], 1000); history.record([row("a")], 1000);`))
	must.Eq(t, "4000 1", in(`history.record(Array.from({ length: 9000 }, (_, i) => row("k" + i)), 1000);`))
}
