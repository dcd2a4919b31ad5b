// Command nomad-sidecar injects sidecars into Nomad jobs. It only connects package
// cli to the process it runs in.
package main

import (
	"os"
	"runtime/debug"
	"strings"

	"github.com/nomad-sidecar/nomad-sidecar/templater/cli"
)

// development is the version without scripts/build.sh and a tag.
const development = "0.1.0-dev"

// scripts/build.sh sets the version, and the full hash of the source's commit.
var version, commit string

func main() {
	if version == "" {
		version = moduleVersion()
	}
	p := &cli.Program{
		Version: version, Commit: commit, Args: os.Args[1:], Environ: os.Environ(),
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
	}
	os.Exit(p.Run())
}

// moduleVersion returns the version that go install got, for example 0.1.0.
func moduleVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return development
	}
	return strings.TrimPrefix(info.Main.Version, "v")
}
