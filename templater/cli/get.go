package cli

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/docker/go-units"
	"github.com/hashicorp/hcl/v2"

	"github.com/nomad-sidecar/nomad-sidecar/templater/catalog"
	"github.com/nomad-sidecar/nomad-sidecar/templater/display"
)

type get struct {
	p         *Program
	addressed texts
	upgrade   bool
	timeout   time.Duration
}

func (*get) Synopsis() string { return "Fetch catalogs from their addresses" }

func (c *get) flags() *flag.FlagSet {
	fs := newFlags("get")
	c.addressed = nil
	fs.Var(&c.addressed, "catalog", "`ADDRESS` Address of a catalog; may be repeated. Default is NOMAD_SIDECAR_CATALOG, then all pinned catalogs. Folders are not fetched.")
	fs.BoolVar(&c.upgrade, "upgrade", false, "Pin the current content of the addresses, and print the changes.")
	fs.DurationVar(&c.timeout, "timeout", 5*time.Minute, "`DURATION` Time limit for one catalog. Default is 5m.")
	return fs
}

func (c *get) Help() string {
	return `Usage: nomad-sidecar get [options]

  Fetches catalogs into the cache, and pins what it got in ` + catalog.LockName + ` in the
  working directory. A pinned catalog is not fetched again, or fetched exactly as
  pinned. The other commands then use the copy, without the network.

` + flagHelp(c) + `

  An ADDRESS is one of:

    git::https://HOST/REPO.git//FOLDER?ref=REF
    git::ssh://git@HOST/REPO.git//FOLDER?ref=REF
    git::file:///PATH//FOLDER?ref=REF
    https://HOST/FILE.tar.gz//FOLDER?checksum=sha256:…
    oci://REGISTRY/REPO:TAG//FOLDER

  //FOLDER and everything after ? are optional. Archives are .tar.gz, .tgz,
  .tar and .zip.

  The cache is NOMAD_SIDECAR_CACHE, by default nomad-sidecar in XDG_CACHE_HOME or
  ~/.cache, on macOS in ~/Library/Caches, on Windows in %LocalAppData%.
  Credentials come from git's credential helpers, ssh-agent, ~/.netrc, and docker
  login; SSL_CERT_FILE names certificate authorities for archives and registries,
  GIT_SSL_CAINFO for git.

  Exit codes: 0 success, 1 an error (nothing is pinned), 2 wrong usage.`
}

func (c *get) Run(args []string) int {
	rest, err := parse(c.flags(), args)
	switch {
	case err != nil:
		return c.p.usage(err)
	case len(rest) > 0:
		return c.p.usage(fmt.Errorf("get takes no arguments, but got %q; addresses are given by -catalog", rest[0]))
	case c.timeout <= 0:
		return c.p.usage(fmt.Errorf("-timeout must be a duration above 0, such as 90s or 5m"))
	}
	r := c.p.reporter()
	lock, diags := readLock(r)
	if r.report(diags) {
		return exitError
	}
	addresses, diags := c.addresses(c.addressed, lock)
	if r.report(diags) {
		return exitError
	}
	cache, diags := c.p.cache()
	if r.report(diags) {
		return exitError
	}
	ctx, stop := untilInterrupted(os.Interrupt, syscall.SIGTERM)
	defer stop()
	getter := &catalog.Getter{Cache: cache, Environ: c.p.Environ, Timeout: c.timeout}
	return c.get(ctx, r, getter, addresses, lock, c.upgrade)
}

// addresses returns the addresses to fetch, without duplicates.
func (c *get) addresses(flagged []string, lock *catalog.Lock) ([]catalog.Address, hcl.Diagnostics) {
	sources := c.p.catalogs(flagged)
	if len(sources) == 0 {
		sources = slices.Sorted(maps.Keys(lock.Entries))
	}
	var out []catalog.Address
	var diags hcl.Diagnostics
	seen := map[string]string{}
	for _, source := range sources {
		if !catalog.IsAddress(source) {
			display.Fprintf(c.p.Stderr, "%s is a folder and is not fetched\n", source)
			continue
		}
		a, err := catalog.Parse(source)
		switch {
		case err != nil:
			diags = append(diags, failureOf("Invalid catalog address", err)...)
		case seen[a.String()] == "":
			seen[a.String()] = source
			out = append(out, a)
		case seen[a.String()] != source:
			diags = append(diags, failure("Ambiguous addresses", fmt.Sprintf("Two addresses differ only in possible credentials, and are the same in the lock file: %s.", a))...)
		}
	}
	if len(sources) == 0 {
		diags = append(diags, failure("Nothing to get", fmt.Sprintf("Pass an address by -catalog or NOMAD_SIDECAR_CATALOG: %s pins none.", catalog.LockName))...)
	}
	return out, diags
}

// get fetches all addresses, and pins them if every fetch succeeded.
func (c *get) get(ctx context.Context, r *reporter, getter *catalog.Getter, addresses []catalog.Address, lock *catalog.Lock, upgrade bool) int {
	var entries []*catalog.Entry
	var out strings.Builder
	failed := false
	for _, a := range addresses {
		display.Fprintf(c.p.Stderr, "Getting %s\n", a)
		getter.Progress = c.progress()
		locked := lock.Entries[a.String()]
		result, files, diags := getter.Get(ctx, a, locked, upgrade)
		r.know(files)
		if r.report(diags) {
			failed = true
			continue
		}
		entries = append(entries, result.Entry)
		out.WriteString(resultText(result, locked))
	}
	if failed {
		return exitError
	}
	if len(entries) > 0 {
		if err := catalog.Update(getter.Cache, catalog.LockName, entries); err != nil {
			r.report(failureOf("Cannot write the lock file", err))
			return exitError
		}
	}
	return c.p.write(r, []byte(out.String()))
}

// progress reports every few megabytes, to keep a log short.
func (c *get) progress() func(read, total int64) {
	const step = 8 << 20
	next := int64(step)
	return func(read, total int64) {
		if read < next {
			return
		}
		next = read - read%step + step
		of := ""
		if total > 0 {
			of = " of " + units.BytesSize(float64(total))
		}
		display.Fprintf(c.p.Stderr, "  %s%s\n", units.BytesSize(float64(read)), of)
	}
}

// resultText describes a fetched catalog and its differences from the lock.
func resultText(result *catalog.Result, locked *catalog.Entry) string {
	var out strings.Builder
	state := "new"
	switch {
	case locked != nil && locked.From() == result.Entry.From():
		state = "as locked"
	case locked != nil:
		state = "was " + locked.Origin
	}
	if result.Cached {
		state += ", in the cache"
	}
	display.Fprintf(&out, "%s\n  %s (%s)\n", result.Entry.Address, result.Entry.From(), state)
	for _, name := range slices.Sorted(maps.Keys(result.Entry.Sidecars)) {
		display.Fprintf(&out, "  %s\n", name)
	}
	if len(result.Changes) > 0 {
		out.WriteString("  Changes:\n")
	}
	for _, change := range result.Changes {
		display.Fprintf(&out, "    %s\n", change)
	}
	return out.String()
}
