package main

import (
	"html/template"
	"log"
	"net/http"
	"os"
)

const pageTemplate = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>webapp</title>
<style>
  body { font: 18px/1.6 system-ui, sans-serif; max-width: 38rem; margin: 12vh auto; padding: 0 1.5rem }
  h1 { line-height: 1.2 }
  td { padding: .1rem 1.5rem .1rem 0 }
</style>
<h1>Hello from webapp</h1>
<p>I speak plain HTTP on the loopback interface, and nothing else.</p>
<table>
  <tr><td>You asked for</td><td><code>{{.Path}}</code></td></tr>
  <tr><td>on</td><td><code>{{.Host}}</code></td></tr>
  <tr><td>by</td><td>{{if eq .Scheme "https"}}HTTPS, which a proxy in front of me took off{{else}}HTTP{{end}}</td></tr>
  <tr><td>I am process</td><td>{{.PID}} on <code>{{.Hostname}}</code></td></tr>
</table>
</html>
`

type page struct {
	Path, Host, Scheme, Hostname string
	PID                          int
}

// newHandler answers every path with the page and logs one line for it.
func newHandler(logger *log.Logger) http.Handler {
	tmpl := template.Must(template.New("page").Parse(pageTemplate))
	hostname, _ := os.Hostname() // only a label
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// %q: a path is written by the client and must stay one line.
		logger.Printf("%s %q from %s", r.Method, r.URL.RequestURI(), r.RemoteAddr)
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_ = tmpl.Execute(w, page{ // a client that went away
			Path: r.URL.Path, Host: r.Host, Scheme: r.Header.Get("X-Forwarded-Proto"),
			Hostname: hostname, PID: os.Getpid(),
		})
	})
}
