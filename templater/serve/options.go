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

	// Rules reads catalog and policy. It is called at the start and for each reload.
	Rules func() (*admission.Rules, error)
	// Files lists what Rules reads, files and folders.
	Files func() []string
	// Report shows an error of a reload.
	Report func(error)

	Fleet FleetOptions
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
