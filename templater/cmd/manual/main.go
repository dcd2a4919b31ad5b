// Command manual writes the manual pages of nomad-sidecar for packages. It is not part of them.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/nomad-sidecar/nomad-sidecar/templater/cli"
)

func main() {
	out := flag.String("out", ".", "`directory` for the pages")
	version := flag.String("version", "", "of nomad-sidecar")
	epoch := flag.Int64("date", 0, "of the version, in Unix `seconds`")
	flag.Parse()
	if err := write(*out, cli.Manual(*version, time.Unix(*epoch, 0))); err != nil {
		fmt.Fprintln(os.Stderr, "manual:", err)
		os.Exit(1)
	}
}

func write(dir string, pages map[string]string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, text := range pages {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
