package serve_test

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/nomad-sidecar/nomad-sidecar/templater/cli"
)

// The tests run nomad-sidecar serve in a process of its own.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"nomad-sidecar": func() {
			p := &cli.Program{
				Version: "1.2.3", Args: os.Args[1:], Environ: os.Environ(),
				Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
			}
			os.Exit(p.Run())
		},
	})
}
