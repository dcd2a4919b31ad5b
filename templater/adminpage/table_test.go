package adminpage

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater/fleet"
)

// rowsOf are the jobs and sidecars that a query shows of a fleet.
func rowsOf(t *testing.T, jobs []*fleet.Job, query string) (*shown[fleetRow], string) {
	t.Helper()
	values, err := url.ParseQuery(query)
	must.NoError(t, err)
	q, err := fleetTable().parse(values)
	must.NoError(t, err)
	got := fleetTable().show(fleetRows(jobs), q)
	var out []string
	for _, r := range got.Rows {
		out = append(out, r.ID+":"+r.Name())
	}
	return got, strings.Join(out, " ")
}

func TestTheFleetIsFilteredAndSorted(t *testing.T) {
	for query, want := range map[string]string{
		"":                          "cart:tls-proxy catalogue:tls-proxy catalogue:metrics search:tls-proxy search:topz billing:tls-proxy ledger:metrics old:tls-proxy nightly:- import:-",
		"q=PROD/":                   "billing:tls-proxy ledger:metrics old:tls-proxy",
		"q=default+tls+ok":          "catalogue:tls-proxy search:tls-proxy",
		"q=no+team":                 "import:-",
		"q=nobody":                  "",
		"state=missing":             "billing:tls-proxy",
		"state=none":                "nightly:-",
		"state=problem":             "import:-",
		"state=outdated&order=desc": "old:tls-proxy ledger:metrics search:topz cart:tls-proxy",
		"sort=sidecar&q=search":     "search:tls-proxy search:topz",
	} {
		_, got := rowsOf(t, shop(), query)
		must.Eq(t, want, got, must.Sprint(query))
	}
	_, got := rowsOf(t, shop(), "state=outdated&sort=version")
	must.StrHasPrefix(t, "ledger:metrics ", got)
	versions := []*fleet.Job{job("d", "a", have("s", "1.10.0", "", "", "")), job("d", "b", have("s", "1.9.0", "", "", "")), job("d", "c", have("s", "", "", "", ""))}
	_, got = rowsOf(t, versions, "sort=version")
	must.Eq(t, "c:s b:s a:s", got)
}

func TestLinksOfATableKeepWhatIsChosen(t *testing.T) {
	got, _ := rowsOf(t, shop(), "q=prod&state=outdated&sort=job&order=desc")
	by := map[string]columnView{}
	for _, c := range got.Columns {
		by[c.Key] = c
	}
	must.Eq(t, "descending", by["job"].Sorted)
	must.Eq(t, "/?q=prod&sort=job&state=outdated", by["job"].URL)
	must.Eq(t, "/?q=prod&sort=group&state=outdated", by["group"].URL)
	must.Eq(t, "none", by["group"].Sorted)
	must.Eq(t, []stateView{
		{"", 3, "/?order=desc&q=prod&sort=job", false},
		{"missing", 1, "/?order=desc&q=prod&sort=job&state=missing", false},
		{"outdated", 2, "/?order=desc&q=prod&sort=job&state=outdated", true},
	}, got.States)
}

func TestALongTableHasPages(t *testing.T) {
	var jobs []*fleet.Job
	for i := range 2*pageRows + 1 {
		jobs = append(jobs, job("d", fmt.Sprintf("j%04d", i)))
	}
	got, _ := rowsOf(t, jobs, "")
	must.Len(t, pageRows, got.Rows)
	must.Eq(t, "", got.Before)
	must.Eq(t, "/?page=2", got.After)
	must.Eq(t, 3, got.Pages)
	got, text := rowsOf(t, jobs, "page=3")
	must.Eq(t, "j0400:-", text)
	must.Eq(t, "/?page=2", got.Before)
	must.Eq(t, "", got.After)
	got, _ = rowsOf(t, jobs, "page=99")
	must.Eq(t, 3, got.Page, must.Sprint("jobs may have gone since"))
}

// A state that is chosen can be left again, also where there is no other.
func TestAChosenStateIsShown(t *testing.T) {
	f := start(t, shop(), time.Hour).read()
	_, body := f.get("/?q=billing&state=missing")
	must.StrContains(t, body, `aria-current="true">missing <span>1</span>`)
	_, body = f.get("/?q=billing")
	must.StrNotContains(t, body, `aria-current="true"`)
}

func TestAWrongAddressIsSaidToBe(t *testing.T) {
	f := start(t, nil, 0)
	for _, path := range []string{"/?sort=color", "/?order=up", "/?page=0", "/?page=x", "/upgrades?sort=command", "/denials?sort=what"} {
		status, _ := f.get(path)
		must.Eq(t, http.StatusBadRequest, status, must.Sprint(path))
	}
}

func TestAgesForPeople(t *testing.T) {
	for seconds, want := range map[int]string{-3: "0 s ago", 12: "12 s ago", 60: "1 min ago", 3599: "59 min ago", 7380: "2 h 3 min ago"} {
		must.Eq(t, want, ago(time.Duration(seconds)*time.Second))
	}
}
