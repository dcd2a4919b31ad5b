package adminpage

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater/fleet"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/browser"
)

// What tests ask of the page.
const (
	rowsShown = `[...document.querySelectorAll("#rows tbody tr")].map((r) => r.querySelector(".c-job")?.textContent).join(" ")`
	focusedOn = `document.activeElement.closest("tr")?.querySelector(".c-job").textContent ?? document.activeElement.localName`
	found     = `document.getElementById("announce").textContent`
)

// stage is a page in a browser.
type stage struct {
	*fixture
	*browser.Tab
}

func open(t *testing.T, jobs []*fleet.Job, every time.Duration) *stage {
	t.Helper()
	f := start(t, jobs, every)
	s := &stage{f, browser.Open(t)}
	if jobs != nil {
		s.read()
	}
	t.Cleanup(func() {
		for _, asked := range s.Asked() {
			must.StrHasPrefix(t, f.url+"/", asked, must.Sprint("it asks no other host"))
		}
	})
	return s
}

func (s *stage) show(path string) { s.Go(s.url + path) }

func (s *stage) sees(expression, want string) {
	s.t.Helper()
	s.Sees(fmt.Sprintf("%s === %q", expression, want))
}

// inView waits for another view, and its script.
func (s *stage) inView(name string) {
	s.t.Helper()
	s.Sees(fmt.Sprintf(`document.body?.dataset.view === %q && document.documentElement.classList.contains("live")`, name))
}

// looks has the page ask at once whether there is something new.
func (s *stage) looks() { s.Do(`document.dispatchEvent(new Event("visibilitychange"))`) }

func TestTheFleetInABrowser(t *testing.T) {
	s := open(t, shop(), time.Hour)
	s.Resize(1280, 760)
	s.show("/")
	s.sees(`String(document.querySelectorAll("#rows tbody tr").length)`, "10")
	must.Eq(t, "8 jobs, 5 of them differ; 1 stopped or dead, which are not counted.",
		browser.Value[string](s.Tab, `document.querySelector("#about .about").textContent`))
	must.Eq(t, "default/cart", browser.Value[string](s.Tab, `document.querySelector("#rows tbody th").textContent`))
	must.Eq(t, "rule tls-for-what-is-exposed chooses it", browser.Value[string](s.Tab, `[...document.querySelectorAll("#rows tr")].find((r) => r.textContent.includes("billing")).querySelector(".c-finding").textContent`))

	s.Do(`document.querySelector("th.c-sidecar a").click()`)
	s.sees(`document.querySelector("#rows tbody .c-sidecar").textContent`, "-")
	s.sees(`document.querySelector("th.c-sidecar").ariaSort`, "ascending")
	s.Do(`document.querySelector("th.c-sidecar a").click()`)
	s.sees(`document.querySelector("#rows tbody .c-sidecar").textContent`, "topz")
	must.Eq(t, "/?order=desc&sort=sidecar", browser.Value[string](s.Tab, `location.pathname + location.search`))
	s.Do(`[...document.querySelectorAll("#states a")].find((a) => a.textContent.startsWith("outdated")).click()`)
	s.sees(`String(document.querySelectorAll("#rows tbody tr").length)`, "4")
	must.Eq(t, "outdated 4", browser.Value[string](s.Tab, `document.querySelector("#states [aria-current]").textContent`))
}

func TestFilterAndKeys(t *testing.T) {
	s := open(t, shop(), time.Hour)
	s.show("/")
	s.Sees(`document.documentElement.classList.contains("live")`)
	s.Type("/prod")
	s.sees(rowsShown, "prod/billing prod/ledger prod/old")
	s.sees(found, "3 rows match")
	s.Type(" bill")
	s.sees(rowsShown, "prod/billing")
	s.Type("\x1b") // clears it
	s.sees(`String(document.querySelectorAll("#rows tbody tr").length)`, "10")
	must.Eq(t, "input", browser.Value[string](s.Tab, focusedOn))
	s.Type("\x1b") // leaves it
	must.Eq(t, "body", browser.Value[string](s.Tab, focusedOn))

	s.Type("jj")
	must.Eq(t, "default/catalogue", browser.Value[string](s.Tab, focusedOn))
	s.Type("k")
	must.Eq(t, "default/cart", browser.Value[string](s.Tab, focusedOn))
	s.Type("kG")
	must.Eq(t, "staging/import", browser.Value[string](s.Tab, focusedOn))
	s.Type("g?")
	must.True(t, browser.Value[bool](s.Tab, `document.getElementById("help").open`))
	s.Type("\x1b")
	must.False(t, browser.Value[bool](s.Tab, `document.getElementById("help").open`))

	// To a job and back, to the table as it was, and to the row.
	s.Type("/search")
	s.sees(found, "2 rows match")
	s.Type("\rj")
	must.Eq(t, "default/search", browser.Value[string](s.Tab, focusedOn))
	s.Type("\r")
	s.inView("job")
	s.sees(`document.querySelector("h1").textContent`, "default/search")
	s.Type("\x1b")
	s.inView("fleet")
	must.Eq(t, "/?q=search", browser.Value[string](s.Tab, `location.pathname + location.search`))
	s.sees(rowsShown, "default/search default/search")
	must.Eq(t, "default/search", browser.Value[string](s.Tab, focusedOn))
	must.Eq(t, "topz", browser.Value[string](s.Tab, `document.activeElement.closest("tr").querySelector(".c-sidecar").textContent`))

	s.Type("4")
	s.inView("denials")
	s.Type("2")
	s.inView("upgrades")
}

func TestLettersCanBeTurnedOff(t *testing.T) {
	s := open(t, shop(), time.Hour)
	s.show("/")
	s.Sees(`document.documentElement.classList.contains("live")`)
	s.Type("?")
	s.Do(`document.getElementById("letters").click()`)
	s.Type("\x1b")
	s.show("/") // it is remembered
	s.Sees(`document.documentElement.classList.contains("live")`)
	s.Type("j")
	must.Eq(t, "body", browser.Value[string](s.Tab, focusedOn))
}

func TestTheExplanationOfAJobInABrowser(t *testing.T) {
	s := open(t, append(shop(), job("default", "gone")), time.Hour)
	s.page.Decisions.Add(decision("default", "cart", "injected"))
	s.show("/job?namespace=default&id=cart")
	text := browser.Value[string](s.Tab, `document.getElementById("job").innerText`)
	for _, want := range []string{
		"nomad-sidecar upgrade -policy policy -catalog catalog -namespace default cart",
		"tls-proxy 1.2.0: chosen by policy (policy/production.policy.hcl:7)", "version ~> 1.0",
		"topz 1.1.0: not chosen: nothing chooses it", "(sensitive)",
		"Together they add to each allocation: 1 task, 50 MHz, 32 MB, 1 port.", "tls-for-what-is-exposed",
	} {
		must.StrContains(t, text, want)
	}
	must.Eq(t, "app_port 8080 policy (policy/production.policy.hcl:9)", browser.Value[string](s.Tab, `[...document.querySelector(".values tbody tr").cells].map((c) => c.textContent).join(" ")`))

	s.show("/job?namespace=default&id=gone")
	must.StrContains(t, browser.Value[string](s.Tab, `document.getElementById("job").innerText`), "It cannot be told now: the job no longer exists.")
	s.show("/job?namespace=default&id=nobody")
	must.StrContains(t, browser.Value[string](s.Tab, `document.getElementById("job").innerText`), "The fleet has no such job")
}

// What is new shows by itself, and what a reader does is left alone.
func TestThePageIsLive(t *testing.T) {
	s := open(t, shop(), time.Millisecond)
	s.show("/denials")
	s.Sees(`document.documentElement.classList.contains("live")`)
	must.StrContains(t, browser.Value[string](s.Tab, `document.querySelector("#rows tbody").textContent`), "There is nothing here.")
	s.page.Decisions.Add(decision("default", "first", "denied"))
	s.sees(rowsShown, "default/first") // by its own clock
	s.Type("j")
	s.Do(`globalThis.row = document.querySelector("#rows tbody tr")`)
	s.page.Decisions.Add(decision("default", "second", "denied"))
	s.page.Decisions.Add(decision("default", "other", "injected"))
	s.looks()
	s.sees(rowsShown, "default/second default/first")
	must.Eq(t, "default/first", browser.Value[string](s.Tab, focusedOn))
	must.True(t, browser.Value[bool](s.Tab, `row === document.querySelectorAll("#rows tbody tr")[1]`), must.Sprint("it is the same element"))
	must.Eq(t, "Denials 2", browser.Value[string](s.Tab, `document.querySelector("#nav [aria-current]").textContent`))

	three := func(state string) func(*cluster) {
		return func(c *cluster) {
			c.jobs = []*fleet.Job{job("default", "a", have("metrics", "", "", "", fleet.StateMissing), have("rate-limit", "", "", "", fleet.StateOK), have("topz", "", "", "", state))}
		}
	}
	const sidecars = `[...document.querySelectorAll("#rows tbody .c-sidecar")].map((c) => c.textContent).join(" ")`
	s.change(three(fleet.StateOutdated))
	s.show("/?sort=state")
	s.sees(sidecars, "metrics rate-limit topz")
	s.Sees(`document.documentElement.classList.contains("live")`)
	s.Type("G")
	s.change(three(fleet.StateMissing))
	s.sees(sidecars, "metrics topz rate-limit")
	s.sees(`document.activeElement.closest("tr")?.querySelector(".c-sidecar").textContent`, "topz") // it takes the focus along

	s.change(func(c *cluster) { c.jobs = []*fleet.Job{job("default", "late")} })
	s.sees(rowsShown, "default/late")
	s.sees(`document.querySelector("#nav a span").textContent`, "1")
}

func TestOffline(t *testing.T) {
	f := start(t, nil, 0)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must.NoError(t, err)
	address := listener.Addr().String()
	serveOn := func(listener net.Listener) (stop func()) {
		server := &http.Server{Handler: f.page}
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
	f.page.Decisions.Add(decision("default", "web", "denied"))
	b.Go("http://" + address + "/denials")
	b.Sees(`document.documentElement.classList.contains("live")`)
	stop()
	b.Sees(`document.getElementById("problem").textContent.startsWith("Offline: nomad-sidecar has not answered since ")`)
	must.Eq(t, "default/web", browser.Value[string](b, rowsShown), must.Sprint("what was known stays"))
	listener, err = net.Listen("tcp", address)
	must.NoError(t, err)
	stop = serveOn(listener)
	defer stop()
	b.Sees(`document.getElementById("problem").textContent === ""`)
}

// Who registers a job calls it as he likes. It is text, whatever way it comes into the
// page, and the policy would stop it if it were not.
func TestHostileNamesAreText(t *testing.T) {
	bad := job(hostile, hostile, have(hostile, hostile, hostile, hostile, fleet.StateOutdated))
	bad.Groups[0].Name, bad.Activity, bad.Problems = hostile, hostile, []string{hostile}
	s := open(t, []*fleet.Job{bad}, time.Hour)
	denied := decision(hostile, hostile, "denied")
	denied.Reasons, denied.Rules, denied.Path, denied.Client, denied.Accessor = []string{hostile}, []string{hostile}, "/v1/job/"+hostile, hostile, hostile
	s.page.Decisions.Add(denied)
	none := func(path string) {
		t.Helper()
		must.Eq(t, 0, browser.Value[int](s.Tab, `document.querySelectorAll("main :is(img, script)").length`), must.Sprint(path))
	}
	for _, path := range []string{"/", "/upgrades", "/admissions", "/denials"} {
		s.show(path)
		s.Sees(`document.documentElement.classList.contains("live")`)
		must.Eq(t, hostile+"/"+hostile, browser.Value[string](s.Tab, `document.querySelector("#rows tbody .c-job").textContent`))
		none(path)
		s.page.Decisions.Add(denied) // and by way of the script
		s.looks()
		s.sees(`document.body.dataset.state.split(".")[2]`, fmt.Sprint(s.page.Decisions.Seen()))
		none(path)
	}
	s.show("/job?" + strings.TrimPrefix(jobURL(hostile, hostile), "/job?"))
	must.Eq(t, hostile+"/"+hostile, browser.Value[string](s.Tab, `document.querySelector("h1").textContent`))
	none("job")
	s.show("/?q=" + strings.TrimPrefix(jobURL("", hostile), "/job?id="))
	none("filter")
	must.True(t, browser.Value[bool](s.Tab, `(() => { try { document.querySelector("footer").innerHTML = "<p>"; return false } catch { return true } })()`),
		must.Sprint("no script may make HTML of text"))
}
