package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/shoenig/test/must"
)

const chromium = "/usr/bin/chromium"

// tab is one page of a headless Chromium that ends with the test.
type tab struct {
	t   *testing.T
	ctx context.Context
}

func openTab(t *testing.T) tab {
	t.Helper()
	if _, err := os.Stat(chromium); err != nil {
		t.Skipf("no browser to look at the page with: %v", err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(chromium), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()))
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	ctx, stop := chromedp.NewExecAllocator(ctx, options...)
	ctx, leave := chromedp.NewContext(ctx)
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx) // it closes the browser; the others wait for it
		leave()
		stop()
		cancel()
	})
	return tab{t, ctx}
}

func (b tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	must.NoError(b.t, chromedp.Do(b.ctx, steps...))
}

// value evaluates an expression in the page.
func value[T any](b tab, expression string) T {
	b.t.Helper()
	got, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	must.NoError(b.t, err, must.Sprint(expression))
	return got
}

// sees waits until an expression is true. It does not use chromedp.Poll, which
// the page's content security policy refuses.
func (b tab) sees(expression string) {
	b.t.Helper()
	eventually(b.t, func() bool { return value[bool](b, expression) })
}

func (b tab) seesFirst(pid string) {
	b.t.Helper()
	b.sees(`document.querySelector("tbody tr")?.dataset.pid === "` + pid + `"`)
}

// click follows a link by its data-nav. A refresh may replace the link between
// chromedp's look-up and its mouse event, so the page does it in one step.
func (b tab) click(nav string) {
	b.t.Helper()
	value[any](b, `document.querySelector('[data-nav="`+nav+`"]').click()`)
}

func (b tab) prefers(scheme string) {
	b.t.Helper()
	_, err := chromedp.Run(b.ctx, func(ctx context.Context, target *chromedp.Target) (cdp.Empty, error) {
		return cdp.Call(ctx, target, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
	})
	must.NoError(b.t, err)
}

// picture keeps a screenshot in the folder TOPZ_PICTURES, for people to see.
func (b tab) picture(name string) {
	b.t.Helper()
	dir := os.Getenv("TOPZ_PICTURES")
	if dir == "" {
		return
	}
	png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	must.NoError(b.t, err)
	must.NoError(b.t, os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644))
}

func TestPageInABrowser(t *testing.T) {
	b := openTab(t)
	dir := procDir(t, podProcs()...)
	url := start(t, map[string]string{"NOMAD_ALLOC_ID": allocID, "NOMAD_JOB_NAME": "web", "NOMAD_GROUP_NAME": "front"}, "-proc", dir)

	b.do(chromedp.EmulateViewport(1280, 720), chromedp.Navigate(url+"/?sort=pid"))
	b.seesFirst("1")
	must.Zero(t, value[int](b, `document.querySelectorAll("tbody script").length`))
	must.Eq(t, commandLine(hostile, ""), value[string](b, `document.querySelector('[data-pid="21"] code').textContent`))
	must.Eq(t, 0, value[int](b, `performance.getEntriesByType("resource").filter((r) => !r.name.startsWith(location.origin)).length`))

	b.click("sort-memory")
	b.seesFirst("20")
	b.click("sort-memory")
	b.seesFirst("31")
	address, err := chromedp.Run(b.ctx, chromedp.Location())
	must.NoError(t, err)
	must.StrHasSuffix(t, "/?order=asc&sort=memory", address)

	b.do(chromedp.SendKeys(chromedp.CSS(`input[type=search]`), "webapp"))
	b.sees(`document.querySelectorAll("tr[data-pid]").length === 1`)
	b.seesFirst("20")
	b.click("task-topz")
	b.sees(`document.querySelector(".none") !== null`)
	b.click("reset")
	b.sees(`document.querySelectorAll("tr[data-pid]").length === 5`)
	must.Eq(t, "", value[string](b, `document.querySelector("input[type=search]").value`))

	fakeProc{pid: 61, comm: "late"}.writeTo(t, dir)
	b.sees(`document.querySelector('tr[data-pid="61"]') !== null`)
	must.NoError(t, os.RemoveAll(filepath.Join(dir, "61")))
	b.sees(`document.querySelector('tr[data-pid="61"]') === null`)

	const background = `getComputedStyle(document.body).backgroundColor`
	b.prefers("light")
	light := value[string](b, background)
	b.picture("light")
	b.prefers("dark")
	must.NotEq(t, light, value[string](b, background))
	b.picture("dark")
	b.do(chromedp.EmulateViewport(420, 800))
	must.True(t, value[bool](b, `document.documentElement.scrollWidth <= 420`), must.Sprint("only the table may scroll sideways"))
	b.picture("narrow")
}
