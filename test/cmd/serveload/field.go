package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testtimeout"
)

const definition = `sidecar "note" {
  version = "1.0.0"
  summary = "A note."
  parameter "text" {
    type = string
  }
  task "note" {
    driver = "raw_exec"
    lifecycle {
      hook    = "prestart"
      sidecar = true
    }
    env {
      TEXT = param.text
    }
    config {
      command = "true"
    }
    resources {
      cpu    = 10
      memory = 10
    }
  }
  app {
    env {
      NOTE = param.text
    }
  }
}
`

const rules = `rule "notes" {
  match {
    meta = { noted = "yes" }
  }
  inject "note" {
    text = "of ${job.id}, ${group.name}"
  }
  required = true
}
rule "no-batch" {
  validation {
    condition     = job.type == "service"
    error_message = "Batch jobs run elsewhere."
  }
}
`

// way is a path of requests to Nomad.
type way struct {
	name     string
	url      string
	sends    [][]byte // a request of each size
	injected bool     // the requests already contain the sidecars
}

// direct reports whether the way has no proxy.
func (w *way) direct() bool { return w.name == "direct" }

func (f *field) proxyOf(w *way) *child {
	if w.name == f.bare.name {
		return f.bare
	}
	return f.serve
}

// field contains all processes.
type field struct {
	options
	nomad       string // address
	ways        []*way
	serve, bare *child
	children    []*child // in the order of their start
	client      *http.Client
	last        map[string]string // the number in a job's last registration, by job ID
}

// newField starts everything. The caller must close the field, also after an error.
func newField(ctx context.Context, o options, nomad, dir string) (*field, error) {
	f := &field{options: o, last: map[string]string{}, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: o.clients}}}
	if err := f.startNomad(ctx, nomad, dir); err != nil {
		return f, err
	}
	for name, text := range map[string]string{"note.sidecar.hcl": definition, "notes.policy.hcl": rules} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return f, fmt.Errorf("write rules: %w", err)
		}
	}
	var plain, whole [][]byte
	capture, err := f.startCapture(ctx, dir)
	if err != nil {
		return f, err
	}
	for _, groups := range o.sizes {
		body := requestOf(groups)
		injected, err := capture(body)
		if err != nil {
			return f, err
		}
		plain, whole = append(plain, body), append(whole, injected)
	}
	if f.bare, err = f.start(ctx, dir, "bare", "", "bare", freeAddress, f.nomad); err != nil {
		return f, err
	}
	if f.serve, err = f.startServe(ctx, dir, "serve", f.nomad); err != nil {
		return f, err
	}
	f.ways = []*way{
		{name: "direct", url: f.nomad, sends: whole, injected: true},
		{name: "bare", url: "http://" + f.bare.address, sends: whole, injected: true},
		{name: "serve", url: "http://" + f.serve.address, sends: plain},
	}
	return f, nil
}

func (f *field) startServe(ctx context.Context, dir, name, upstream string) (*child, error) {
	return f.start(ctx, dir, name, f.program, "serve", "-address", freeAddress, "-admin-address", "", "-policy", dir, "-catalog", dir, "-nomad-addr", upstream)
}

// startCapture returns a function that returns serve's request to Nomad for a given request.
func (f *field) startCapture(ctx context.Context, dir string) (func([]byte) ([]byte, error), error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	bodies := make(chan []byte, 1)
	server := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // a truncated body is no valid job and fails later
		bodies <- body
	})}
	go func() { _ = server.Serve(l) }() // until the process ends
	c, err := f.startServe(ctx, dir, "capture", "http://"+l.Addr().String())
	if err != nil {
		return nil, err
	}
	return func(body []byte) ([]byte, error) {
		if err := f.send(ctx, "http://"+c.address+"/v1/jobs", body, nil); err != nil {
			return nil, err
		}
		return <-bodies, nil
	}, nil
}

func (f *field) startNomad(ctx context.Context, nomad, dir string) error {
	config := filepath.Join(dir, "nomad.hcl")
	text := "client {\n  options = { \"fingerprint.denylist\" = \"env_aws,env_gce,env_azure,env_digitalocean\" }\n}\nlimits {\n  http_max_conns_per_client = " + map[bool]string{true: "100", false: "1000"}[f.slow > 0] + "\n}\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return fmt.Errorf("configure Nomad: %w", err)
	}
	if _, err := f.run(dir, "nomad", nomad, "agent", "-dev", "-bind", "127.0.0.1", "-network-interface", "lo", "-log-level", "WARN", "-config", config); err != nil {
		return err
	}
	f.nomad = "http://127.0.0.1:4646" // the sandbox has its own network
	return poll(ctx, "Nomad has a leader", func() error {
		return f.send(ctx, f.nomad+"/v1/status/leader", nil, func(body []byte) error {
			if !strings.Contains(string(body), ":") {
				return errors.New("no leader")
			}
			return nil
		})
	})
}

func (f *field) close() error {
	var errs []error
	for _, c := range f.children {
		errs = append(errs, c.end())
	}
	f.client.CloseIdleConnections()
	return errors.Join(errs...)
}

// poll waits until holds returns nil.
func poll(ctx context.Context, what string, holds func() error) error {
	ctx, cancel := context.WithTimeout(ctx, testtimeout.Scale(time.Minute))
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := holds()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until %s: %w", what, errors.Join(ctx.Err(), err))
		case <-tick.C:
		}
	}
}
