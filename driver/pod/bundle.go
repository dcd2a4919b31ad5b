package pod

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/driver/ociruntime"
)

// makerFile is beside the spec in a bundle: the path of the runtime that made
// the container. No other takes commands for it.
const makerFile = "maker"

// maxSpecBytes holds the arguments and the environment of a process, of which
// Linux takes 2 MiB at most, with every byte escaped.
const maxSpecBytes = 16 << 20

// writeBundle writes what a container is made of, before it is.
func (m *Manager) writeBundle(bundle string, s *specs.Spec) error {
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("write runtime-spec: %w", err)
	}
	if err := os.WriteFile(filepath.Join(bundle, makerFile), []byte(m.cfg.Runtime.Path), 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(bundle, "config.json"), b, 0o600)
}

func readSpec(bundle string) (*specs.Spec, error) {
	b, err := bounds.ReadFile(filepath.Join(bundle, "config.json"), maxSpecBytes)
	if err != nil {
		return nil, fmt.Errorf("read runtime-spec: %w", err)
	}
	var s specs.Spec
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("read runtime-spec: %w", err)
	}
	return &s, nil
}

// maker is the runtime that made the container of a bundle. An operator may
// have changed it since. Where nothing says which it was no container was made
// yet, or a driver made it that did not note this: then it is today's.
func (m *Manager) maker(bundle string) ociruntime.Runtime {
	r := m.cfg.Runtime
	if path, err := bounds.ReadFile(filepath.Join(bundle, makerFile), unix.PathMax); err == nil && filepath.IsAbs(string(path)) {
		r.Path = string(path)
	}
	return r
}
