package adminpage

import (
	"embed"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

//go:embed assets
var assets embed.FS

//go:embed templates
var templates embed.FS

// Options configure a Page.
type Options struct {
	Decisions *Decisions
	// Fleet is nil if there is no token to read the cluster with.
	Fleet *Fleet
	// UpgradeFlags are flags that make "nomad-sidecar upgrade" use the proxy's catalog and
	// policy. They are displayed and must not contain credentials.
	UpgradeFlags []string
	// Loopback means that only this machine can reach the page. Requests for other host
	// names are refused then.
	Loopback bool
	Log      *slog.Logger
}

// Page is an http.Handler that serves
//
//	GET /                the sidecars of the fleet
//	GET /upgrades        jobs with available upgrades
//	GET /admissions      decisions about requests with a job
//	GET /denials         denials only
//	GET /job             one job: namespace, id
//	GET /api/fleet       the same as JSON, see fleetJSON
//	GET /api/upgrades    see upgradesJSON
//	GET /api/decisions   see decisionsJSON
//	GET /api/job         see jobJSON
//	GET /api/state       see stateJSON
//
// Tables take the parameters q, state, sort, order (asc, desc) and page.
type Page struct {
	Options
	handler  http.Handler
	template *template.Template
	begun    time.Time
	now      func() time.Time
}

// New returns a page.
func New(o Options) *Page {
	p := &Page{Options: o, now: time.Now, begun: time.Now()}
	p.template = template.Must(template.New("").Funcs(functions()).ParseFS(templates, "templates/*.html"))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.fleetPage)
	mux.HandleFunc("GET /upgrades", p.upgradesPage)
	mux.HandleFunc("GET /admissions", p.decisionsPage("admissions", "/admissions", o.Decisions.All))
	mux.HandleFunc("GET /denials", p.decisionsPage("denials", "/denials", o.Decisions.Denials))
	mux.HandleFunc("GET /job", p.jobPage)
	mux.HandleFunc("GET /api/fleet", p.fleetJSON)
	mux.HandleFunc("GET /api/upgrades", p.upgradesJSON)
	mux.HandleFunc("GET /api/decisions", p.decisionsJSON)
	mux.HandleFunc("GET /api/job", p.jobJSON)
	mux.HandleFunc("GET /api/state", p.stateJSON)
	for _, name := range assetNames() {
		mux.HandleFunc("GET /"+name, func(w http.ResponseWriter, r *http.Request) {
			http.ServeFileFS(w, r, assets, name)
		})
	}
	p.handler = p.secured(mux)
	return p
}

// ServeHTTP implements http.Handler.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.handler.ServeHTTP(w, r) }

// assetNames lists the files below assets, not its folders.
func assetNames() []string {
	entries, err := assets.ReadDir("assets")
	if err != nil {
		panic(err) // embedded files never fail
	}
	var names []string
	for _, e := range entries {
		names = append(names, "assets/"+e.Name())
	}
	return names
}

// secured sets headers that forbid external and inline content, scripts that build
// markup from text (trusted types), framing, and reads by other sites, since the texts
// are chosen by authors of jobs.
func (p *Page) secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if p.Loopback && !local(r.Host) {
			http.Error(w, "nomad-sidecar: the page is for this machine only, and is not served under the name "+r.Host+": use localhost, 127.0.0.1 or [::1]", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// local reports whether a host name always means this machine. Any site can resolve its
// own name to 127.0.0.1 and then read the page with scripts in a local browser (DNS
// rebinding).
func local(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.IsLoopback()
	}
	return strings.EqualFold(host, "localhost") || strings.HasSuffix(strings.ToLower(host), ".localhost")
}
