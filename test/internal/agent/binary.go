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

// ErrNoNomad means that no suitable nomad binary was found.
var ErrNoNomad = errors.New("no nomad of 1.10 or newer: run make nomad")

// FindNomad returns the nomad binary to use: the one named by NOMAD_BIN, or one on PATH that is new
// enough, or bin/nomad in the repository at root.
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

// newEnough runs path to check its version.
func newEnough(path string) error {
	out, err := exec.Command(path, "version").Output()
	if err != nil {
		return fmt.Errorf("run %s to read its version: %w", path, err)
	}
	line, _, _ := strings.Cut(string(out), "\n")
	have, err := version.NewVersion(strings.TrimPrefix(line, "Nomad v"))
	if err != nil {
		return fmt.Errorf("version of %s: %w", path, err)
	}
	// Compare the core only: a development version of 1.10 is new enough.
	if have.Core().LessThan(version.Must(version.NewVersion("1.10.0"))) {
		return fmt.Errorf("%s is %s", path, have)
	}
	return nil
}
