package serve

import (
	"io"
	"time"

	"github.com/nomad-sidecar/nomad-sidecar/templater/admission"
	"github.com/nomad-sidecar/nomad-sidecar/templater/fleet"
)

// Options configures a Server.
type Options struct {
	Version string
	Log     io.Writer // receives one line of JSON per event

	Address                     string
	AdminAddress                string // "" for no admin listener
	Nomad                       string // http://, https:// or unix://
	CertFile, KeyFile, ClientCA string // "" for no TLS, or for no client certificates
	MaxBodyMiB                  int64
	Drain                       time.Duration
	ReloadEvery                 time.Duration // 0 means reload on request only

	Limits Limits

	// Rules reads catalog and policy. It is called at the start and on each reload.
	Rules func() (*admission.Rules, error)
	// Files returns the files and folders that Rules reads.
	Files func() []string
	// Report prints the error of a failed reload.
	Report func(error)

	Fleet FleetOptions
}

// Limits bound what clients may use, in total and each. 0 means no limit.
type Limits struct {
	Connections, ConnectionsPerClient int64
	BufferMiB                         int64 // for request bodies
	// Upstream limits concurrent requests to Nomad, UpstreamPerClient the requests of one client.
	Upstream, UpstreamPerClient int
	// TrustedProxies lists addresses and networks of proxies. Their X-Forwarded-For identifies
	// clients.
	TrustedProxies []string
}

// DefaultLimits returns limits that fit Nomad's default of 100 connections per client address.
func DefaultLimits() Limits {
	return Limits{Connections: 2048, ConnectionsPerClient: 512, BufferMiB: 64, Upstream: 90, UpstreamPerClient: 26}
}

// FleetOptions configures how the admin page reads jobs.
type FleetOptions struct {
	TokenFile string // "" to use Token
	Token     string // "" and no TokenFile: the page reads no jobs
	Every     time.Duration
	// Open connects to the Nomad at an address with a token.
	Open func(address, token string) (Nomad, error)
	// UpgradeFlags make the upgrade command use the same policy and catalog.
	UpgradeFlags []string
}

// Nomad is the cluster shown on the admin page.
type Nomad interface {
	fleet.Nomad
	Close()
}
