package catalog

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// Getter fetches catalogs into a cache.
type Getter struct {
	Cache   Cache
	Environ []string      // of git, as os.Environ has it
	Timeout time.Duration // for each catalog; none if 0
	// Progress is called with the number of bytes read of an archive or layer; total is
	// not positive if unknown. It may be nil.
	Progress func(read, total int64)
}

// Result is a fetched catalog.
type Result struct {
	Entry *Entry
	// Cached means that the locked copy was already in the cache.
	Cached bool
	// Changes lists the differences from the lock, one per line.
	Changes []string
}

// Get ensures that the cache has the catalog at an address. With locked, the lock's
// entry for the address, it must be the pinned one; with nil or upgrade the current
// one is fetched. Files are the sources that diagnostics refer to.
func (g *Getter) Get(ctx context.Context, a Address, locked *Entry, upgrade bool) (r *Result, files map[string]*hcl.File, diags hcl.Diagnostics) {
	if locked != nil && !upgrade && g.Cache.Has(locked.Content) {
		return &Result{Entry: locked, Cached: true}, nil, nil
	}
	if a.partial {
		return nil, nil, failure("Incomplete address", fmt.Sprintf("%s lacks a value that may be a credential. Pass the complete address to -catalog.", a), hcl.Range{})
	}
	entry, catalog, diags := g.fetch(ctx, a, locked, upgrade)
	if diags.HasErrors() {
		return nil, catalog.Files(), diags
	}
	if locked == nil {
		return &Result{Entry: entry}, catalog.Files(), diags
	}
	changes := g.changes(locked, entry, catalog)
	switch {
	case upgrade:
		return &Result{Entry: entry, Changes: changes}, catalog.Files(), diags
	case entry.Content != locked.Content:
		detail := fmt.Sprintf("%s returned %s, which differs from the locked %s:\n\n%s\n\nTo accept the change: nomad-sidecar get -upgrade -catalog '%s'", a, entry.From(), locked.From(), indent(changes), a)
		return nil, catalog.Files(), failure("Catalog differs from the lock", detail, locked.Range)
	}
	return &Result{Entry: locked}, catalog.Files(), diags
}

// fetch fetches and stores a catalog and parses its definitions.
func (g *Getter) fetch(ctx context.Context, a Address, locked *Entry, upgrade bool) (*Entry, *sidecar.Catalog, hcl.Diagnostics) {
	if g.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, g.Timeout, fmt.Errorf("it took longer than %s", g.Timeout))
		defer cancel()
	}
	f := &fetcher{address: a, environ: g.Environ, tell: g.Progress}
	if locked != nil && !upgrade {
		f.pinned = locked.Origin
	}
	catalog := &sidecar.Catalog{}
	files, origin, err := f.fetch(ctx)
	if err != nil {
		return nil, catalog, failure("Cannot fetch the catalog", fmt.Sprintf("%s: %s.", a, strings.TrimSuffix(err.Error(), ".")), hcl.Range{})
	}
	content, err := g.Cache.Store(files)
	if err != nil {
		return nil, catalog, failure("Cannot store the catalog", err.Error()+".", hcl.Range{})
	}
	diags := g.Cache.load(catalog, content)
	if diags.HasErrors() {
		return nil, catalog, diags
	}
	return &Entry{Kind: a.Kind, Address: a.String(), Origin: origin, Content: content, Sidecars: sideOf(catalog).digests}, catalog, diags
}

// changes lists the differences between a catalog and the locked one.
func (g *Getter) changes(locked, entry *Entry, now *sidecar.Catalog) []string {
	if locked.Content == entry.Content {
		return nil
	}
	return orText(differences(side{locked.Sidecars, g.Cache.definitions()}, sideOf(now)))
}

// definitions returns the definitions of all readable copies by digest.
func (c Cache) definitions() map[string]*sidecar.Definition {
	out := map[string]*sidecar.Definition{}
	copies, _ := os.ReadDir(c.copies())
	for _, folder := range copies {
		one := &sidecar.Catalog{}
		_ = one.Load(os.DirFS(filepath.Join(c.copies(), folder.Name())), "")
		for _, d := range one.Definitions() {
			out[d.Digest] = d
		}
	}
	return out
}

// load reads the copy with a digest into a catalog.
func (c Cache) load(into *sidecar.Catalog, digest string) hcl.Diagnostics {
	folder, err := c.Folder(digest)
	if err != nil {
		return failure("Cannot read the catalog", err.Error()+".", hcl.Range{})
	}
	return into.Load(os.DirFS(folder), filepath.ToSlash(folder))
}

// orText describes a change that affects no definition.
func orText(changes []string) []string {
	if len(changes) == 0 {
		return []string{"only comments, descriptions, layout or file names changed; every definition has the same meaning"}
	}
	return changes
}

func indent(lines []string) string { return "  " + strings.Join(lines, "\n  ") }
