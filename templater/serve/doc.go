// Package serve runs the admission proxy: it listens, reloads catalog, policy and
// certificate when their files change, serves the admin page, and drains at the end.
//
// What happens to a request is up to package admission. The caller reads flags,
// catalogs and policies, and passes them in as Options.
package serve
