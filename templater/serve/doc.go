// Package serve runs the admission proxy. It listens, reloads catalog, policy and certificate when
// their files change, serves the admin page, and drains on shutdown.
//
// Package admission handles the requests. The caller parses flags, reads catalogs and policies and
// passes them in Options.
package serve
