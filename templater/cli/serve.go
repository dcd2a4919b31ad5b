package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hashicorp/nomad/api"
)

type serve struct{ p *Program }

func (*serve) Synopsis() string { return "Inject sidecars on the way to Nomad, by a policy" }

func (*serve) Help() string {
	return `Usage: nomad-sidecar serve [options]

  Stands in front of Nomad's API: who registers, plans or validates a job there has
  the sidecars injected that the policy and the job's meta choose, or is told why the
  job is denied. All other requests pass untouched. Let NOMAD_ADDR of its users name
  this address instead of Nomad's.

  -policy FILE|DIR          Rules; of a folder all *.policy.hcl; may be repeated.
  -catalog DIR              Folder of definitions, or an address that get has
                            fetched; may be repeated. Default is
                            NOMAD_SIDECAR_CATALOG, then the built-in catalog.
  -address HOST:PORT        Where to listen. Default is 127.0.0.1:4747.
  -admin-address HOST:PORT  Where the page is that shows the fleet and what was
                            admitted and denied, and /healthz, /readyz and /metrics.
                            Default is 127.0.0.1:4748; empty for none.
  -fleet-token FILE         Token that the page reads jobs with, which needs list-jobs
                            and read-job. Whoever reaches -admin-address sees what it
                            sees. Without it, or NOMAD_SIDECAR_FLEET_TOKEN that is the
                            token, no jobs are read. Empty, such as /dev/null, for a
                            cluster without ACLs.
  -fleet-every DURATION     Most often that jobs are read, and only while somebody
                            looks. Default is 1m.
  -nomad-addr URL           The Nomad: http://, https:// or unix://. Default is
                            NOMAD_ADDR, then http://127.0.0.1:4646. Certificates are
                            those of NOMAD_CACERT, NOMAD_CLIENT_CERT and the like.
  -tls-cert FILE            Certificate to listen with TLS, in PEM.
  -tls-key FILE             Its key.
  -tls-client-ca FILE       Authorities, one of which must have signed the client's
                            certificate.
  -reload-every DURATION    How often to look whether policy, catalog or certificate
                            have changed. Default is 5s; 0 for SIGHUP alone.
  -max-body MIB             Most that a request with a job may hold. Default is 10.
  -drain DURATION           At the end, time for requests under way. Default is 30s.

  NOMAD_TOKEN is not used: requests keep their own tokens. NOMAD_REGION is the region
  that jobs without one are in, for rules; default is global.

  With OTEL_EXPORTER_OTLP_ENDPOINT in the environment, requests with a job are traced
  to that collector. Other variables of OpenTelemetry hold too.

  Policy, catalog and certificate are read anew when they have changed, and at SIGHUP;
  with an error in one of them all stay as they were. SIGINT and SIGTERM end it after the requests under way. Each
  request with a job is a line of JSON on stdout.

  Exit codes: 0 ended by a signal, 1 an error, 2 wrong usage.`
}

// serveOptions is what the command line of serve says.
type serveOptions struct {
	policies, catalogs          texts
	address, adminAddress       string
	nomad                       string
	certFile, keyFile, clientCA string
	maxBodyMiB                  int64
	drain, reloadEvery          time.Duration
	fleetToken                  string // a file
	fleetEvery                  time.Duration
}

func (o *serveOptions) parse(args []string) error {
	fs := flag.NewFlagSet("serve", flag.ContinueOnError)
	fs.Var(&o.policies, "policy", "")
	fs.Var(&o.catalogs, "catalog", "")
	fs.StringVar(&o.address, "address", "127.0.0.1:4747", "")
	fs.StringVar(&o.adminAddress, "admin-address", "127.0.0.1:4748", "")
	fs.StringVar(&o.nomad, "nomad-addr", api.DefaultConfig().Address, "")
	fs.StringVar(&o.certFile, "tls-cert", "", "")
	fs.StringVar(&o.keyFile, "tls-key", "", "")
	fs.StringVar(&o.clientCA, "tls-client-ca", "", "")
	fs.Int64Var(&o.maxBodyMiB, "max-body", 10, "")
	fs.DurationVar(&o.reloadEvery, "reload-every", 5*time.Second, "")
	fs.DurationVar(&o.drain, "drain", 30*time.Second, "")
	fs.StringVar(&o.fleetToken, "fleet-token", "", "")
	fs.DurationVar(&o.fleetEvery, "fleet-every", time.Minute, "")
	rest, err := parse(fs, args)
	switch {
	case err != nil:
		return err
	case len(rest) > 0:
		return fmt.Errorf("serve takes no arguments, but was given %q; see nomad-sidecar serve -help", rest[0])
	case (o.certFile == "") != (o.keyFile == ""):
		return errors.New("-tls-cert and -tls-key go together")
	case o.clientCA != "" && o.certFile == "":
		return errors.New("-tls-client-ca needs -tls-cert and -tls-key")
	case o.maxBodyMiB < 1 || o.maxBodyMiB > 1024:
		return fmt.Errorf("-max-body is a number of MiB from 1 to 1024, not %d", o.maxBodyMiB)
	case o.drain < 0:
		return fmt.Errorf("-drain is a time to wait, not %s", o.drain)
	case o.reloadEvery != 0 && o.reloadEvery < 100*time.Millisecond:
		return fmt.Errorf("-reload-every is 100ms at least, or 0, not %s", o.reloadEvery)
	case o.fleetEvery < time.Second:
		return fmt.Errorf("-fleet-every is a second at least, not %s", o.fleetEvery)
	}
	return nil
}

func (c *serve) Run(args []string) int {
	o := &serveOptions{}
	if err := o.parse(args); err != nil {
		return c.p.usage(err)
	}
	// Caught before anything else, so that none of them ends a start half done.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)
	r := c.p.reporter()
	r.withoutSource = true
	s, diags := c.p.newServer(o, r)
	if r.report(diags) {
		return exitError
	}
	if err := s.run(ctx, reload); err != nil {
		r.report(failureOf("Cannot serve", err))
		return exitError
	}
	return exitDone
}
