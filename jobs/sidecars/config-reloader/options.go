package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/internal/headerfile"
	"github.com/nomad-sidecar/nomad-sidecar/jobs/internal/program"
	"github.com/nomad-sidecar/nomad-sidecar/jobs/sidecars/config-reloader/source"
	"github.com/nomad-sidecar/nomad-sidecar/jobs/sidecars/config-reloader/target"
)

// address is the URL or path of a source; empty for none.
type address string

// shown returns the address without its password.
func (a address) shown() string {
	if u, err := url.Parse(string(a)); err == nil {
		return u.Redacted()
	}
	return string(a)
}

// options are the command line.
type options struct {
	source, values address
	text, data     source.Source // opened from the addresses; data is nil without values
	render         bool
	check          []string // empty: no check

	allocDir, stateDir string
	destination        string // relative to allocDir
	mode               fs.FileMode
	interval           time.Duration

	target     target.Target
	signal     unix.Signal
	signalName string
}

func parseOptions(args []string, getenv func(string) string, out io.Writer) (options, error) {
	o := options{target: target.Target{AllocID: getenv("NOMAD_ALLOC_ID")}}
	flags := flag.NewFlagSet("config-reloader", flag.ContinueOnError)
	flags.StringVar((*string)(&o.source), "source", "", "source of the configuration or its template: http://…, https://… or /PATH")
	flags.BoolVar(&o.render, "render", false, "the source is a template of Go's text/template")
	flags.StringVar((*string)(&o.values), "values", "", "source of the template's .Values, in JSON: http://…, https://… or /PATH")
	headers := flags.String("headers", "", "file with HTTP headers, such as Authorization, one per line")
	flags.Func("check", "word of a command that must accept a configuration, with {} for its path; may be repeated", func(word string) error {
		o.check = append(o.check, word)
		return nil
	})
	flags.StringVar(&o.destination, "destination", "", "path of the file below the allocation's directory: config/web.conf")
	mode := flags.String("mode", "0644", "permissions of the file")
	flags.DurationVar(&o.interval, "interval", 10*time.Second, "time between checks for a change")
	flags.StringVar(&o.target.Task, "task", "", "the application's task")
	flags.StringVar(&o.target.Process, "process", "", "name of the process to signal (default: the task's first)")
	flags.StringVar(&o.signalName, "signal", "SIGHUP", "the signal to send")
	flags.StringVar(&o.allocDir, "alloc", getenv("NOMAD_ALLOC_DIR"), "the allocation's directory (default: NOMAD_ALLOC_DIR)")
	flags.StringVar(&o.stateDir, "state", getenv("NOMAD_TASK_DIR"), "directory for state that survives a restart (default: NOMAD_TASK_DIR)")
	if err := program.Parse(flags, args, out); err != nil {
		return o, err
	}
	if err := o.complete(*mode); err != nil {
		return o, err
	}
	return o, o.open(*headers)
}

// complete validates the options and derives the others.
func (o *options) complete(mode string) error {
	bits, err := strconv.ParseUint(mode, 8, 12)
	if err != nil || bits > 0o777 {
		return fmt.Errorf("-mode %q: write it in octal, like 0644", mode)
	}
	o.mode = fs.FileMode(bits)
	o.signalName = strings.ToUpper(o.signalName)
	known := target.Signals()
	if o.signal = known[o.signalName]; o.signal == 0 {
		return fmt.Errorf("-signal %q: use one of %s", o.signalName, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
	}
	switch {
	case o.target.Task == "":
		return errors.New("-task is missing: name the application's task")
	case o.allocDir == "":
		return errors.New("-alloc is missing: outside of Nomad, name a directory")
	case o.stateDir == "":
		return errors.New("-state is missing: outside of Nomad, name a directory")
	case !filepath.IsLocal(o.destination) || filepath.Clean(o.destination) == ".":
		return fmt.Errorf("-destination %q: want a path below the allocation's directory, like config/web.conf", o.destination)
	case o.interval < 100*time.Millisecond:
		return fmt.Errorf("-interval %s is too short: use 100ms or more", o.interval)
	case o.values != "" && !o.render:
		return errors.New("-values requires a template: add -render, or leave it out")
	}
	return nil
}

func (o *options) open(headers string) error {
	extra, err := headerfile.Read(headers)
	if err != nil {
		return fmt.Errorf("-headers: %w", err)
	}
	if o.text, err = source.Open(string(o.source), extra); err != nil {
		return fmt.Errorf("-source: %w", err)
	}
	if o.values != "" {
		if o.data, err = source.Open(string(o.values), extra); err != nil {
			return fmt.Errorf("-values: %w", err)
		}
	}
	return nil
}
