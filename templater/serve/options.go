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
	Log     io.Writer // gets one line of JSON per event

	Address                     string
	AdminAddress                string // "" for no admin listener
	Nomad                       string // http://, https:// or unix://
	CertFile, KeyFile, ClientCA string // "" for no TLS, or for no client certificates
	MaxBodyMiB                  int64
	Drain                       time.Duration
	ReloadEvery                 time.Duration // 0 to reload on request only

	Limits Limits

	// Rules reads catalog and policy. It is called at the start and for each reload.
	Rules func() (*admission.Rules, error)
	// Files lists what Rules reads, files and folders.
	Files func() []string
	// Report shows an error of a reload.
	Report func(error)

	Fleet FleetOptions
}

// Limits bound what clients can use, together and each. 0 is no bound.
type Limits struct {
	Connections, ConnectionsPerClient int64
	BufferMiB                         int64 // for bodies of requests
	// Upstream bounds requests at Nomad at once, UpstreamPerClient those of one client.
	Upstream, UpstreamPerClient int
	// TrustedProxies are addresses and networks whose X-Forwarded-For names clients.
	TrustedProxies []string
}

// DefaultLimits fit Nomad's default of 100 connections per client address.
func DefaultLimits() Limits {
	return Limits{Connections: 2048, ConnectionsPerClient: 512, BufferMiB: 64, Upstream: 90, UpstreamPerClient: 40}
}

// FleetOptions configures how the admin page reads jobs.
type FleetOptions struct {
	TokenFile string // "" to use Token
	Token     string // "" and no TokenFile: the page reads no jobs
	Every     time.Duration
	// Open returns the Nomad at an address, for a token.
	Open func(address, token string) (Nomad, error)
	// UpgradeFlags are those that make upgrade use the same policy and catalog.
	UpgradeFlags []string
}

// Nomad is a cluster that the admin page reads.
type Nomad interface {
	fleet.Nomad
	Close()
}
