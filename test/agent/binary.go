package agent

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/hashicorp/go-version"
)

// ErrNoNomad is that there is no Nomad to test with.
var ErrNoNomad = errors.New("no nomad of 1.10 or newer: run make nomad")

// FindNomad gives the nomad to use: the one NOMAD_BIN names, else a new enough
// one on PATH, else bin/nomad of the repository that root is the top of.
func FindNomad(root string) (string, error) {
	if path := os.Getenv("NOMAD_BIN"); path != "" {
		return path, newEnough(path)
	}
	if path, err := exec.LookPath("nomad"); err == nil && newEnough(path) == nil {
		return path, nil
	}
	path, err := filepath.Abs(filepath.Join(root, "bin", "nomad"))
	if err != nil {
		return "", err
	}
	if err := newEnough(path); err != nil {
		return "", fmt.Errorf("%w (%w)", ErrNoNomad, err)
	}
	return path, nil
}

// newEnough runs path to learn its version.
func newEnough(path string) error {
	out, err := exec.Command(path, "version").Output()
	if err != nil {
		return fmt.Errorf("ask %s for its version: %w", path, err)
	}
	line, _, _ := strings.Cut(string(out), "\n")
	have, err := version.NewVersion(strings.TrimPrefix(line, "Nomad v"))
	if err != nil {
		return fmt.Errorf("version of %s: %w", path, err)
	}
	// The core: a development version of 1.10 has what is needed.
	if have.Core().LessThan(version.Must(version.NewVersion("1.10.0"))) {
		return fmt.Errorf("%s is %s", path, have)
	}
	return nil
}
