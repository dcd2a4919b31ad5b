// Images builds an OCI image of each program of the catalog. An image contains
// the program and, if requested, certificates. It is written as an OCI layout,
// which the pod driver runs as oci:DIRECTORY/NAME:VERSION.
//
// It neither compiles programs nor pushes images. Images are reproducible: the
// same programs give the same bytes on every machine.
//
//	images [-sidecars DIR] [-bin DIR] [-out DIR] NAME...
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/internal/program"
)

func main() {
	program.Main("images", func(_ context.Context, args []string, _ func(string) string, log io.Writer) error {
		return run(args, os.Stdout, log)
	})
}

func run(args []string, out, log io.Writer) error {
	fs := flag.NewFlagSet("images", flag.ContinueOnError)
	fs.SetOutput(log)
	sidecars := fs.String("sidecars", "jobs/sidecars", "`directory` of the catalog")
	bin := fs.String("bin", "bin", "`directory` of the programs")
	target := fs.String("out", "bin/images", "`directory` for the layouts")
	if err := fs.Parse(args); err != nil {
		return err
	}
	for _, name := range fs.Args() {
		about, err := describe(filepath.Join(*sidecars, name), name)
		if err != nil {
			return err
		}
		dir := filepath.Join(*target, name)
		digest, err := write(dir, about, filepath.Join(*bin, name))
		if err != nil {
			return fmt.Errorf("image of %s: %w", name, err)
		}
		fmt.Fprintf(out, "image %s:%s %s\n", dir, about.version, digest)
	}
	return nil
}
