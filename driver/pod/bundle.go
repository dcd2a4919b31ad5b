package pod

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

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
func (m *Manager) writeBundle(bundle string, r ociruntime.Runtime, s *specs.Spec) error {
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("write runtime-spec: %w", err)
	}
	if err := os.WriteFile(filepath.Join(bundle, runtimePathFile), makerOf(r), 0o600); err != nil {
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
	b, err := bounds.ReadFile(filepath.Join(bundle, runtimePathFile), maxMakerBytes)
	if err != nil || !filepath.IsAbs(string(b)) {
		return r
	}
	path, rest, gvisor := strings.Cut(string(b), "\n")
	r.Path = path
	if gvisor {
		r.Gvisor, r.StateDir = true, filepath.Join(m.cfg.RunDir, gvisorDir)
		r.Args = strings.FieldsFunc(rest, func(c rune) bool { return c == '\n' })
	}
	return r
}

// maxMakerBytes fits a path and arguments of the operator's.
const maxMakerBytes = 64 << 10

// gvisorDir is the directory of runsc's state in RunDir.
const gvisorDir = "runsc"

// makerOf returns the path of a runtime, and for gVisor its arguments, each on a line.
func makerOf(r ociruntime.Runtime) []byte {
	if !r.Gvisor {
		return []byte(r.Path)
	}
	return []byte(strings.Join(append([]string{r.Path}, r.Args...), "\n") + "\n")
}
