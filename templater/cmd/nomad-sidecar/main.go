// Command nomad-sidecar injects sidecars into Nomad jobs. It only connects package
// cli to the process it runs in.
package main

import (
	"os"

	"github.com/nomad-sidecar/nomad-sidecar/templater/cli"
)

// version is set by the linker.
var version = "0.0.0-dev"

func main() {
	p := &cli.Program{
		Version: version, Args: os.Args[1:], Environ: os.Environ(),
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
	}
	os.Exit(p.Run())
}
