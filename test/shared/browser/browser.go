// Package browser tests pages with a headless Chromium that ends with the test. Without Chromium the
// tests are skipped.
//
// The package contains no checks of a particular page: tests express them in JavaScript. It needs no
// network besides the page's address.
package browser

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testtimeout"
)

const chromium = "/usr/bin/chromium"

// Tab is a page of the browser.
type Tab struct {
	t   *testing.T
	ctx context.Context

	mu    sync.Mutex
	asked []string
}

// Open starts a browser with an empty page.
func Open(t *testing.T) *Tab {
	t.Helper()
	if _, err := os.Stat(chromium); err != nil {
		t.Skipf("no browser to test the page (install one with scripts/deps.sh chromium): %v", err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(chromium), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()))
	ctx, cancel := context.WithTimeout(context.Background(), testtimeout.Scale(2*time.Minute))
	ctx, stop := chromedp.NewExecAllocator(ctx, options...)
	ctx, leave := chromedp.NewContext(ctx)
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx) // closes the browser; the other contexts wait for it
		leave()
		stop()
		cancel()
	})
	b := &Tab{t: t, ctx: ctx}
	must.NoError(t, chromedp.Listen(ctx, func(event any) {
		if request, ok := event.(*network.EventRequestWillBeSent); ok {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.asked = append(b.asked, request.Request.URL)
		}
	}))
	// Without it the page, and its elements, never get the focus.
	command(b, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
	return b
}

// Asked returns the addresses that the browser has requested or tried to.
func (b *Tab) Asked() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.asked)
}

// Go opens an address.
func (b *Tab) Go(url string) {
	b.t.Helper()
	b.do(chromedp.Navigate(url))
}

// Resize sets the page's size in pixels.
func (b *Tab) Resize(width, height int64) {
	b.t.Helper()
	b.do(chromedp.EmulateViewport(width, height))
}

// Type presses keys in the focused element. Unlike chromedp's, a key that the page handles itself
// types no character, as on a keyboard.
func (b *Tab) Type(keys string) {
	b.t.Helper()
	for _, key := range keys {
		events := kb.Encode(key)
		down, up := *events[0], *events[len(events)-1]
		if len(events) == 3 {
			down.Text, down.UnmodifiedText = events[1].Text, events[1].UnmodifiedText
		}
		command(b, input.DispatchKeyEvent, down)
		command(b, input.DispatchKeyEvent, up)
	}
}

// Paste inserts the clipboard's text into the focused element.
func (b *Tab) Paste() {
	b.t.Helper()
	command(b, input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: "keyDown", Commands: []string{"paste"}})
}

func (b *Tab) do(step chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	must.NoError(b.t, chromedp.Do(b.ctx, step))
}

// Value evaluates an expression in the page and waits if it is a promise. It repeats the
// evaluation if the page was replaced meanwhile, as by a page that reloads itself: the expression
// must not change the page.
func Value[T any](b *Tab, expression string) T {
	b.t.Helper()
	deadline := time.Now().Add(testtimeout.Scale(30 * time.Second))
	for {
		got, err := evaluateOnce[T](b, expression)
		if replaced(err) && time.Now().Before(deadline) && b.ctx.Err() == nil {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		must.NoError(b.t, err, must.Sprint(expression))
		return got
	}
}

// evaluateOnce has its own timeout: Chromium may never answer for a page that was replaced.
func evaluateOnce[T any](b *Tab, expression string) (T, error) {
	ctx, cancel := context.WithTimeout(b.ctx, testtimeout.Scale(5*time.Second))
	defer cancel()
	return evaluate[T](ctx, expression)
}

func evaluate[T any](ctx context.Context, expression string) (T, error) {
	return chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// replaced reports whether an evaluation may have failed since its page was replaced. Chromium has
// several messages for it, and one code.
func replaced(err error) bool {
	const serverError = -32000
	var failure *cdproto.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &failure) && failure.Code == serverError
}

// Do runs statements in the page. They are exempt from the page's content security policy.
func (b *Tab) Do(statements string) {
	b.t.Helper()
	_, err := evaluate[bool](b.ctx, "{"+statements+"}; true")
	must.NoError(b.t, err, must.Sprint(statements))
}

// Sees waits until an expression is true. It avoids chromedp.Poll, which a page's content security
// policy may forbid.
func (b *Tab) Sees(expression string) {
	b.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(testtimeout.Scale(20 * time.Second))
	for !Value[bool](b, expression) {
		select {
		case <-tick.C:
		case <-deadline:
			b.t.Fatalf("not seen in the page: %s", expression)
		}
	}
}

// Prefers sets a media feature, such as prefers-color-scheme to dark.
func (b *Tab) Prefers(feature, value string) {
	b.t.Helper()
	command(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: feature, Value: value}},
	})
}

// WithoutScripts disables scripts on subsequent pages. Scripts of tests still run.
func (b *Tab) WithoutScripts() {
	b.t.Helper()
	command(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
}

func command[P any](b *Tab, method cdp.Command[P, cdp.Empty], params P) {
	b.t.Helper()
	_, err := chromedp.Run(b.ctx, func(ctx context.Context, target *chromedp.Target) (cdp.Empty, error) {
		return cdp.Call(ctx, target, method, params)
	})
	must.NoError(b.t, err)
}
