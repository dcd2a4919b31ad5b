package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/nomad-sidecar/nomad-sidecar/templater/adminpage"
	"github.com/nomad-sidecar/nomad-sidecar/templater/catalog"
	"github.com/nomad-sidecar/nomad-sidecar/templater/cluster"
	"github.com/nomad-sidecar/nomad-sidecar/templater/explanation"
	"github.com/nomad-sidecar/nomad-sidecar/templater/fleet"
)

const (
	// fleetTokenVariable holds the token that -fleet-token names a file of.
	fleetTokenVariable = "NOMAD_SIDECAR_FLEET_TOKEN"
	// pageParallel is how many jobs are read at once for the page: less than status
	// takes, since nobody waits.
	pageParallel = 4
)

// page is the one on the admin listener.
func (s *server) page(at net.Addr) http.Handler {
	tcp, ok := at.(*net.TCPAddr)
	return adminpage.New(adminpage.Options{
		Decisions: s.decisions, Fleet: s.fleet, UpgradeFlags: s.upgradeFlags(), Loopback: ok && tcp.IP.IsLoopback(), Log: s.log,
	})
}

// upgradeFlags name policy and catalog as this was started with. Those who read them
// need not know the credentials that are in an address.
func (s *server) upgradeFlags() []string {
	var flags []string
	for _, p := range s.options.policies {
		flags = append(flags, "-policy", p)
	}
	for _, c := range s.p.catalogs(s.options.catalogs) {
		if catalog.IsAddress(c) {
			address, err := catalog.Parse(c)
			if err != nil {
				continue // it would not have been loaded
			}
			c = address.String()
		}
		flags = append(flags, "-catalog", c)
	}
	return flags
}

// openFleet is nil where nobody gave a token.
func (s *server) openFleet() (*adminpage.Fleet, error) {
	f := &pageFleet{s}
	if s.options.adminAddress == "" || (s.options.fleetToken == "" && getenv(s.p.Environ, fleetTokenVariable) == "") {
		return nil, nil
	}
	if _, err := f.token(); err != nil {
		return nil, err
	}
	return adminpage.NewFleet(f, s.options.fleetEvery, s.log), nil
}

// pageFleet reads the jobs for the page, by the rules that are in use.
type pageFleet struct{ *server }

// token is read each time, so that what renews it only has to write the file.
func (f *pageFleet) token() (string, error) {
	if f.options.fleetToken == "" {
		return getenv(f.p.Environ, fleetTokenVariable), nil
	}
	raw, err := os.ReadFile(f.options.fleetToken)
	if err != nil {
		return "", fmt.Errorf("read the token for the fleet: %w", err)
	}
	token := string(bytes.TrimSpace(raw))
	if strings.ContainsAny(token, "\r\n") {
		return "", errors.New("the file of the token for the fleet has several lines")
	}
	return token, nil
}

func (f *pageFleet) open() (*fleetNomad, *fleet.Rules, error) {
	token, err := f.token()
	if err != nil {
		return nil, nil, err
	}
	c, err := cluster.OpenAs(f.options.nomad, token)
	if err != nil {
		return nil, nil, err
	}
	rules := f.proxy.InUse()
	return &fleetNomad{Cluster: c}, &fleet.Rules{Catalog: rules.Catalog, Policy: rules.Policy}, nil
}

// Scan judges all jobs that the token sees.
func (f *pageFleet) Scan(ctx context.Context) ([]*fleet.Job, error) {
	nomad, rules, err := f.open()
	if err != nil {
		return nil, err
	}
	defer nomad.Close()
	scan := &fleet.Scan{Nomad: nomad, Rules: rules, Ask: fleet.Ask{Namespace: "*"}, Parallel: pageParallel}
	return scan.Run(ctx)
}

// Explain tells of one job what the verb explain does.
func (f *pageFleet) Explain(ctx context.Context, of fleet.Ref) (*explanation.Job, error) {
	nomad, rules, err := f.open()
	if err != nil {
		return nil, err
	}
	defer nomad.Close()
	raw, err := nomad.Job(ctx, of)
	if err != nil {
		return nil, err
	}
	e, err := rules.Explain(raw)
	if err != nil {
		return nil, err
	}
	out, diags := explainJSON(e.Job, e.Told, e.Totals)
	if diags.HasErrors() {
		return nil, diags
	}
	r := f.p.reporter()
	r.hide(e.Secrets)
	told := &explanation.Job{}
	if err := json.Unmarshal(r.redact(out), told); err != nil {
		return nil, fmt.Errorf("explain job %s: %w", of, err)
	}
	return told, nil
}
