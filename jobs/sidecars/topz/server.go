package main

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

//go:embed assets
var assets embed.FS

// listing is the body of /api/processes.
type listing struct {
	Snapshot
	IntervalSeconds float64 `json:"interval_seconds"`
	Sort            string  `json:"sort"`
	Order           string  `json:"order"`
}

// newHandler serves
//
//	GET /               the page
//	GET /api/processes  the same as JSON
//	GET /healthz        200 while samples are fresh, else 503
//
// The first two take the query parameters sort, order (asc, desc), task and q;
// the page also view (tree, list).
func newHandler(m *monitor) http.Handler {
	page := newPage()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		q, err := parseQuery(r.URL.Query())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		var body bytes.Buffer // so that a failing template does not send a partial page
		if err := page.render(&body, m.snapshot(), q, sampling{m.interval, m.stale(time.Now())}); err != nil {
			m.log.Error("render the page", "error", err)
			http.Error(w, "the page cannot be shown; see topz's log", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = body.WriteTo(w) // the client disconnected
	})
	mux.HandleFunc("GET /api/processes", func(w http.ResponseWriter, r *http.Request) {
		q, err := parseQuery(r.URL.Query())
		if err != nil {
			writeJSON(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
			return
		}
		writeJSON(w, http.StatusOK, newListing(m, q))
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if m.stale(time.Now()) {
			http.Error(w, "no fresh sample; see topz's log", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	for _, name := range assetNames() {
		mux.HandleFunc("GET /"+name, func(w http.ResponseWriter, r *http.Request) {
			http.ServeFileFS(w, r, assets, name)
		})
	}
	return secured(mux)
}

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

func newListing(m *monitor, q query) listing {
	l := listing{Snapshot: m.snapshot(), IntervalSeconds: m.interval.Seconds(), Sort: q.sort, Order: q.order()}
	l.Processes = q.selected(l.Processes)
	return l
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(body) // the client disconnected
}

// secured sets headers that forbid external and inline content, scripts that build
// markup from text (trusted types), and framing, since command lines are
// controlled by any process of the pod.
func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

const defaultSort = "cpu"

// parseQuery refuses unknown keys, since a silent default would show other data than
// requested.
func parseQuery(values url.Values) (query, error) {
	q := query{sort: fallback(values.Get("sort"), defaultSort), task: values.Get("task"), text: values.Get("q")}
	cols := columns()
	i := slices.IndexFunc(cols, func(c column) bool { return c.key == q.sort })
	if i < 0 {
		keys := make([]string, len(cols))
		for i, c := range cols {
			keys[i] = c.key
		}
		return q, fmt.Errorf("sort=%q is not a column: use one of %s", q.sort, strings.Join(keys, ", "))
	}
	switch order := values.Get("order"); order {
	case "":
		q.reverse = cols[i].falling
	case "asc", "desc":
		q.reverse = order == "desc"
	default:
		return q, fmt.Errorf("order=%q is not an order: use asc or desc", order)
	}
	switch view := values.Get("view"); view {
	case "", "tree":
	case "list":
		q.list = true
	default:
		return q, fmt.Errorf("view=%q is not a view: use tree or list", view)
	}
	return q, nil
}

// with returns a modified copy.
func (q query) with(change func(*query)) query {
	change(&q)
	return q
}

func (q query) order() string {
	if q.reverse {
		return "desc"
	}
	return "asc"
}

// url returns the address of the page for the query.
func (q query) url() string {
	values := url.Values{"sort": {q.sort}, "order": {q.order()}}
	if q.task != "" {
		values.Set("task", q.task)
	}
	if q.text != "" {
		values.Set("q", q.text)
	}
	if q.list {
		values.Set("view", "list")
	}
	return "/?" + values.Encode()
}
