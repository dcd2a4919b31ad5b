// Images builds an OCI image of each program of the catalog. An image contains
// the program and, if requested, certificates. It is written as an OCI layout,
// which the pod driver runs as oci:DIRECTORY/NAME:VERSION, or for a release as an
// archive, NAME_VERSION.oci.tar, with the image for the platforms of all -bin.
//
// It neither compiles programs nor pushes images. Images are reproducible: the
// same programs give the same bytes on every machine.
//
//	images [-sidecars DIR] [-bin DIR] [-out DIR] NAME...
//	images [-sidecars DIR] [-bin DIR]... -archives DIR [-nomad-sidecar VERSION] NAME...
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
	var bins []string
	fs.Func("bin", "`directory` of the programs, may be repeated for archives (default bin)", func(dir string) error {
		bins = append(bins, dir)
		return nil
	})
	target := fs.String("out", "bin/images", "`directory` for the layouts")
	archives := fs.String("archives", "", "`directory` for archives, which are made instead of layouts")
	version := fs.String("nomad-sidecar", "", "`version` of nomad-sidecar, to make its image too")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if len(bins) == 0 {
		bins = []string{"bin"}
	}
	if *archives == "" && len(bins) > 1 {
		return fmt.Errorf("a layout has one platform: give one -bin, or -archives")
	}
	images, err := descriptions(*sidecars, *version, fs.Args())
	if err != nil {
		return err
	}
	for _, about := range images {
		at := filepath.Join(*target, about.name)
		create := write
		if *archives != "" {
			at = filepath.Join(*archives, about.name+"_"+about.version+".oci.tar")
			create = writeArchive
		}
		digest, err := create(at, about, bins...)
		if err != nil {
			return fmt.Errorf("image of %s: %w", about.name, err)
		}
		fmt.Fprintf(out, "image %s:%s %s\n", at, about.tag(), digest)
	}
	return nil
}

func descriptions(sidecars, version string, names []string) ([]description, error) {
	var all []description
	for _, name := range names {
		about, err := describe(filepath.Join(sidecars, name), name)
		if err != nil {
			return nil, err
		}
		all = append(all, about)
	}
	if version != "" {
		all = append(all, templater(version))
	}
	return all, nil
}
