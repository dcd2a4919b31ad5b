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

// Options are what a Page is made of.
type Options struct {
	Decisions *Decisions
	// Fleet is nil where nobody gave a token to read the cluster with.
	Fleet *Fleet
	// UpgradeFlags are those by which "nomad-sidecar upgrade" judges as the proxy
	// does. They are shown, so they hold no credentials.
	UpgradeFlags []string
	// Loopback says that only this machine reaches the page: requests by a host name
	// of somebody else's are refused then.
	Loopback bool
	Log      *slog.Logger
}

// Page is an http.Handler, which serves
//
//	GET /                the sidecars of the fleet
//	GET /upgrades        jobs for which there is something newer
//	GET /admissions      decisions about requests with a job
//	GET /denials         those that denied one
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

// New makes a page.
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

// ServeHTTP answers.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.handler.ServeHTTP(w, r) }

// assetNames are the files below assets: a folder is not listed.
func assetNames() []string {
	entries, err := assets.ReadDir("assets")
	if err != nil {
		panic(err) // it is embedded
	}
	var names []string
	for _, e := range entries {
		names = append(names, "assets/"+e.Name())
	}
	return names
}

// secured tells browsers that nothing here comes from elsewhere, runs inline, is made
// of text by a script (trusted types), may be framed, or read by another site; who
// registers a job chooses the texts.
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
			http.Error(w, "nomad-sidecar: the page is for this machine only, and is not served by the name "+r.Host+": use localhost, 127.0.0.1 or [::1]", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// local says whether a host is this machine for certain. Any site can have its name
// resolve to 127.0.0.1, and its scripts in a browser here then read what they like
// (DNS rebinding).
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
