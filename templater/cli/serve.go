package cli

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/nomad/api"

	"github.com/nomad-sidecar/nomad-sidecar/templater/admission"
	"github.com/nomad-sidecar/nomad-sidecar/templater/analyze"
	"github.com/nomad-sidecar/nomad-sidecar/templater/catalog"
	"github.com/nomad-sidecar/nomad-sidecar/templater/cluster"
	"github.com/nomad-sidecar/nomad-sidecar/templater/serve"
)

type serveCommand struct{ p *Program }

func (*serveCommand) Synopsis() string { return "Serve a proxy that injects sidecars by a policy" }

func (*serveCommand) flags() *flag.FlagSet { return new(serveOptions).declare(newFlags("serve")) }

func (c *serveCommand) Help() string {
	return `Usage: nomad-sidecar serve [options]

  A proxy in front of Nomad's API. Into every job that is registered, planned or
  validated through it, it injects the sidecars that the policy and the job's meta
  choose, or it denies the job with a reason. All other requests pass unchanged. Set
  NOMAD_ADDR of its users to this address instead of Nomad's.

` + flagHelp(c) + `

  NOMAD_TOKEN is not used: requests keep their own tokens. NOMAD_REGION is the region
  of jobs without one, for rules; default is global.

  With OTEL_EXPORTER_OTLP_ENDPOINT in the environment, requests with a job are traced
  to that collector. Other OpenTelemetry variables apply too.

  Policy, catalog and certificate are reloaded when they change, and on SIGHUP; if one
  has an error, all stay as they were. On SIGINT and SIGTERM it finishes open requests
  and exits. Each request with a job is logged as a line of JSON on stdout.

  Exit codes: 0 ended by a signal, 1 an error, 2 wrong usage.`
}

// fleetTokenVariable holds the token itself; -fleet-token names a file.
const fleetTokenVariable = "NOMAD_SIDECAR_FLEET_TOKEN"

// serveOptions holds the flags of serve.
type serveOptions struct {
	serve.Options
	policies, catalogs, nomads, trusted texts
	dryRun                              bool
	analyze                             string // lowest severity of a warning
}

// declare adds the flags to a flag set.
func (o *serveOptions) declare(fs *flag.FlagSet) *flag.FlagSet {
	fs.Var(&o.policies, "policy", "`FILE|DIR` File with rules, or folder with *.policy.hcl files; may be repeated.")
	fs.StringVar(&o.analyze, "analyze", "off", "`LEVEL` Warn about faults of admitted jobs, as \"nomad-sidecar analyze\" finds them, from this severity on: error, warning, info or off. Default is off.")
	fs.BoolVar(&o.dryRun, "dry-run", false, "Only warn about what the policy would change or deny, to try it on a live cluster.")
	fs.Var(&o.catalogs, "catalog", "`DIR` Folder of definitions, or an address that get has fetched; may be repeated. Default is NOMAD_SIDECAR_CATALOG, then the built-in catalog.")
	fs.StringVar(&o.Address, "address", "127.0.0.1:4747", "`HOST:PORT` Address to listen on. Default is 127.0.0.1:4747.")
	fs.StringVar(&o.AdminAddress, "admin-address", "127.0.0.1:4748", "`HOST:PORT` Address of the page with the fleet and the admitted and denied jobs, and of /healthz, /readyz and /metrics. Default is 127.0.0.1:4748; empty for none.")
	fs.Var(&o.nomads, "nomad-addr", "`URL` Address of Nomad: http://, https:// or unix://. Default is NOMAD_ADDR, then http://127.0.0.1:4646. Certificates come from NOMAD_CACERT, NOMAD_CLIENT_CERT and related variables. May be repeated for agents of one cluster: if a connection to one fails, the next one is used.")
	fs.StringVar(&o.CertFile, "tls-cert", "", "`FILE` Server certificate, in PEM.")
	fs.StringVar(&o.KeyFile, "tls-key", "", "`FILE` Its key.")
	fs.StringVar(&o.ClientCA, "tls-client-ca", "", "`FILE` Certificate authorities for client certificates, in PEM.")
	fs.Int64Var(&o.MaxBodyMiB, "max-body", 10, "`MIB` Maximum size of a request with a job. Default is 10.")
	o.Limits = serve.DefaultLimits()
	fs.Int64Var(&o.Limits.Connections, "max-connections", o.Limits.Connections, "`N` Maximum connections of all clients. Default is 2048.")
	fs.Int64Var(&o.Limits.ConnectionsPerClient, "max-connections-per-client", o.Limits.ConnectionsPerClient, "`N` Maximum connections of one client, which is an IPv4 address or an IPv6 /64 network. Default is 512.")
	fs.Int64Var(&o.Limits.BufferMiB, "max-buffer", o.Limits.BufferMiB, "`MIB` Maximum size of all request bodies in memory; half of it for one client. At least twice -max-body. Default is 64.")
	fs.IntVar(&o.Limits.Upstream, "max-upstream", o.Limits.Upstream, "`N` Maximum concurrent requests to Nomad; an eighth is reserved for jobs. Default is 90, below Nomad's limit of 100 connections per client (http_max_conns_per_client).")
	fs.IntVar(&o.Limits.UpstreamPerClient, "max-upstream-per-client", o.Limits.UpstreamPerClient, "`N` Maximum concurrent requests of one client to Nomad. Default is 26.")
	fs.Var(&o.trusted, "trusted-proxy", "`IP|CIDR` Load balancer whose X-Forwarded-For identifies clients; may be repeated. Default is none.")
	fs.DurationVar(&o.ReloadEvery, "reload-every", 5*time.Second, "`DURATION` Interval of checks for changes of policy, catalog and certificate. Default is 5s; 0 for SIGHUP only.")
	fs.DurationVar(&o.Drain, "drain", 30*time.Second, "`DURATION` Time for open requests at exit. Default is 30s.")
	fs.StringVar(&o.Fleet.TokenFile, "fleet-token", "", "`FILE` File with the token for reading jobs for the page, with list-jobs and read-job. Everyone who reaches -admin-address sees these jobs. Without it, and without the token in NOMAD_SIDECAR_FLEET_TOKEN, no jobs are read. Use an empty file, such as /dev/null, for a cluster without ACLs.")
	fs.DurationVar(&o.Fleet.Every, "fleet-every", time.Minute, "`DURATION` Minimum interval between reads of the jobs, which happen only while the page is open. Default is 1m.")
	return fs
}

func (o *serveOptions) parse(args []string) error {
	fs := o.declare(newFlags("serve"))
	rest, err := parse(fs, args)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("serve takes no arguments, but was given %q; see nomad-sidecar serve -help", rest[0])
	}
	if err != nil {
		return err
	}
	if len(o.nomads) == 0 {
		o.nomads = texts{api.DefaultConfig().Address}
	}
	o.Nomad, o.Limits.TrustedProxies = strings.Join(o.nomads, ","), o.trusted
	return cmp.Or(o.check(), o.checkLimits())
}

// checkLimits checks that the limits leave room for each other.
func (o *serveOptions) checkLimits() error {
	l := o.Limits
	switch {
	case l.Connections < 1 || l.ConnectionsPerClient < 1 || l.UpstreamPerClient < 1:
		return errors.New("-max-connections, -max-connections-per-client and -max-upstream-per-client must be at least 1")
	case l.BufferMiB < 2*o.MaxBodyMiB:
		return fmt.Errorf("-max-buffer must be at least twice -max-body, %d MiB, not %d", 2*o.MaxBodyMiB, l.BufferMiB)
	case l.Upstream < 8:
		return fmt.Errorf("-max-upstream must be at least 8, not %d", l.Upstream)
	}
	return nil
}

func (o *serveOptions) check() error {
	switch {
	case (o.CertFile == "") != (o.KeyFile == ""):
		return errors.New("-tls-cert and -tls-key must be set together")
	case o.ClientCA != "" && o.CertFile == "":
		return errors.New("-tls-client-ca requires -tls-cert and -tls-key")
	case o.MaxBodyMiB < 1 || o.MaxBodyMiB > 1024:
		return fmt.Errorf("-max-body must be a number of MiB from 1 to 1024, not %d", o.MaxBodyMiB)
	case !slices.Contains(analyze.Severities(), o.analyze):
		return fmt.Errorf("-analyze must be %s, not %q", strings.Join(analyze.Severities(), ", "), o.analyze)
	case o.dryRun && len(o.policies) == 0:
		return errors.New("-dry-run requires -policy")
	case o.Drain < 0:
		return fmt.Errorf("-drain must be a duration of at least 0, not %s", o.Drain)
	case o.ReloadEvery != 0 && o.ReloadEvery < 100*time.Millisecond:
		return fmt.Errorf("-reload-every must be at least 100ms, or 0, not %s", o.ReloadEvery)
	case o.Fleet.Every < time.Second:
		return fmt.Errorf("-fleet-every must be at least 1s, not %s", o.Fleet.Every)
	}
	return nil
}

func (c *serveCommand) Run(args []string) int {
	o := &serveOptions{}
	if err := o.parse(args); err != nil {
		return c.p.usage(err)
	}
	// Handle signals before anything else, so that none of them interrupts the start.
	ctx, stop := untilInterrupted(os.Interrupt, syscall.SIGTERM)
	defer stop()
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)
	c.connect(o)
	c.tuneGC()
	s, err := serve.Open(o.Options)
	if err == nil {
		err = s.Run(ctx, reload)
	}
	if err != nil {
		o.Report(err)
		return exitError
	}
	return exitDone
}

// tuneGC lets the heap grow to several times the live memory before a collection, unless the
// environment says otherwise: a job's memory is garbage once it is forwarded, and collections
// took a third of the processor time. Above the limit the heap is collected as often as necessary.
func (c *serveCommand) tuneGC() {
	const growth, limit = 400, 256 << 20 // percent, bytes
	if getenv(c.p.Environ, "GOGC") == "" {
		debug.SetGCPercent(growth)
	}
	if getenv(c.p.Environ, "GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(limit)
	}
}

// connect sets the callbacks of the server.
func (c *serveCommand) connect(o *serveOptions) {
	r := c.p.reporter()
	r.withoutSource = true
	o.Version, o.Log = c.p.Version, c.p.Stdout
	o.Rules = func() (*admission.Rules, error) { return c.rules(o, r) }
	o.Files = func() []string { return c.files(o) }
	o.Report = func(err error) {
		var diags hcl.Diagnostics
		if !errors.As(err, &diags) {
			diags = failureOf("Cannot serve", err)
		}
		r.report(diags)
	}
	o.Fleet.Token = getenv(c.p.Environ, fleetTokenVariable)
	o.Fleet.UpgradeFlags = c.upgradeFlags(o)
	o.Fleet.Open = func(address, token string) (serve.Nomad, error) {
		nomad, err := cluster.OpenAs(address, token)
		return &fleetNomad{Cluster: nomad}, err
	}
}

// rules reads catalog and policy. It reports warnings, and returns errors.
func (c *serveCommand) rules(o *serveOptions, r *reporter) (*admission.Rules, error) {
	catalog, diags := c.p.loadCatalog(o.catalogs, r)
	rules := &admission.Rules{Catalog: catalog, Region: cmp.Or(getenv(c.p.Environ, "NOMAD_REGION"), "global")}
	if !diags.HasErrors() && len(o.policies) > 0 {
		policy, more := loadPolicy(o.policies, catalog, r)
		diags = append(diags, more...)
		rules.Policy, rules.DryRun = policy, o.dryRun
		rules.Analysis.Settings = policy.Analysis()
	}
	rules.Analysis.Lowest, _ = analyze.ParseSeverity(o.analyze) // check has reported an error
	if diags.HasErrors() {
		return nil, diags
	}
	if rules.DryRun {
		diags = append(diags, warning("Dry run", "The policy changes and denies no jobs; answers, log and metrics say what it would do.")...)
	}
	r.report(diags)
	return rules, nil
}

// files lists what rules reads. A catalog at an address changes when its lock does.
func (c *serveCommand) files(o *serveOptions) []string {
	paths := slices.Clone([]string(o.policies))
	for _, source := range c.p.catalogs(o.catalogs) {
		if catalog.IsAddress(source) {
			source = catalog.LockName
		}
		paths = append(paths, source)
	}
	return paths
}

// upgradeFlags returns the flags for the policy and the catalog of this server, for the commands
// on the admin page. Credentials in an address are removed.
func (c *serveCommand) upgradeFlags(o *serveOptions) []string {
	var flags []string
	for _, p := range o.policies {
		flags = append(flags, "-policy", p)
	}
	for _, source := range c.p.catalogs(o.catalogs) {
		if catalog.IsAddress(source) {
			address, err := catalog.Parse(source)
			if err != nil {
				continue // Rules reports it
			}
			source = address.String()
		}
		flags = append(flags, "-catalog", source)
	}
	return flags
}
