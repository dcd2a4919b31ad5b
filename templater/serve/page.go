package serve

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

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/adminpage"
	"github.com/nomad-sidecar/nomad-sidecar/templater/explanation"
	"github.com/nomad-sidecar/nomad-sidecar/templater/fleet"
)

// pageParallel limits the concurrent reads of jobs for the page. It is lower than the limit of the
// status command, because no user waits for the result.
const pageParallel = 4

// page returns the handler of the admin page.
func (s *Server) page(at net.Addr) http.Handler {
	tcp, ok := at.(*net.TCPAddr)
	return adminpage.New(adminpage.Options{
		Decisions: s.decisions, Fleet: s.fleet, UpgradeFlags: s.Fleet.UpgradeFlags, Loopback: ok && tcp.IP.IsLoopback(), Log: s.log,
	})
}

// openFleet returns nil if there is no token.
func (s *Server) openFleet() (*adminpage.Fleet, error) {
	f := &pageFleet{s}
	if s.AdminAddress == "" || (s.Fleet.TokenFile == "" && s.Fleet.Token == "") {
		return nil, nil
	}
	if _, err := f.token(); err != nil {
		return nil, err
	}
	return adminpage.NewFleet(f, s.Fleet.Every, s.log), nil
}

// pageFleet reads the jobs for the page with the current rules.
type pageFleet struct{ *Server }

// token reads the file on every call, so that a renewed token only needs to be written there.
func (f *pageFleet) token() (string, error) {
	if f.Fleet.TokenFile == "" {
		return f.Fleet.Token, nil
	}
	raw, err := os.ReadFile(f.Fleet.TokenFile)
	if err != nil {
		return "", fmt.Errorf("read fleet token: %w", err)
	}
	token := string(bytes.TrimSpace(raw))
	if strings.ContainsAny(token, "\r\n") {
		return "", errors.New("the fleet token file has several lines")
	}
	return token, nil
}

func (f *pageFleet) open() (Nomad, *fleet.Rules, error) {
	token, err := f.token()
	if err != nil {
		return nil, nil, err
	}
	c, err := f.Fleet.Open(f.upstream.Address(), token)
	if err != nil {
		return nil, nil, err
	}
	rules := f.proxy.InUse()
	return c, &fleet.Rules{Catalog: rules.Catalog, Policy: rules.Policy}, nil
}

// Scan checks all jobs that the token can read.
func (f *pageFleet) Scan(ctx context.Context) ([]*fleet.Job, error) {
	nomad, rules, err := f.open()
	if err != nil {
		return nil, err
	}
	defer nomad.Close()
	scan := &fleet.Scan{Nomad: nomad, Rules: rules, Ask: fleet.Ask{Namespace: "*"}, Parallel: pageParallel}
	return scan.Run(ctx)
}

// Explain explains a job as the explain command does.
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
	out, err := explanation.Of(e.Job, e.Told, e.Defaults, e.Proxies, e.Totals)
	if err != nil {
		return nil, fmt.Errorf("explain job %s: %w", of, err)
	}
	return redacted(out, e.Secrets)
}

// redacted returns a copy of an explanation without the values of sensitive parameters.
func redacted(j *explanation.Job, secrets []string) (*explanation.Job, error) {
	raw, err := json.Marshal(j)
	if err != nil {
		return nil, fmt.Errorf("explain job: %w", err)
	}
	out := &explanation.Job{}
	if err := json.Unmarshal([]byte(templater.NewRedactor(secrets).Text(string(raw))), out); err != nil {
		return nil, fmt.Errorf("explain job: %w", err)
	}
	return out, nil
}
