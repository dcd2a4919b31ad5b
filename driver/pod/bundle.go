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

// runtimePathFile, next to the spec in a bundle, records the runtime that created
// the container; only that runtime can operate on it.
const runtimePathFile = "maker"

// maxSpecBytes fits the arguments and environment of a process, at most 2 MiB on
// Linux, with every byte escaped.
const maxSpecBytes = 16 << 20

// writeBundle writes the bundle of a container before the container is created.
func (m *Manager) writeBundle(bundle string, s *specs.Spec) error {
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("write runtime-spec: %w", err)
	}
	if err := os.WriteFile(filepath.Join(bundle, runtimePathFile), []byte(m.cfg.Runtime.Path), 0o600); err != nil {
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

// runtimeOf returns the runtime that created the container of a bundle; the operator
// may have configured another one since. It defaults to the configured runtime if
// no container was created yet or the driver that created it recorded none.
func (m *Manager) runtimeOf(bundle string) ociruntime.Runtime {
	r := m.cfg.Runtime
	if path, err := bounds.ReadFile(filepath.Join(bundle, runtimePathFile), unix.PathMax); err == nil && filepath.IsAbs(string(path)) {
		r.Path = string(path)
	}
	return r
}
