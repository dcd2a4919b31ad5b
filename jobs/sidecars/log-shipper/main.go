// Log-shipper sends the stdout and stderr of its allocation's tasks to an HTTP
// receiver, a syslog server or a file, and resumes where it stopped after a crash.
//
// It neither parses nor filters lines and stores none beyond the batch in
// flight: Nomad's log files are the buffer.
package main

//image:certificates the sink may be HTTPS

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/internal/program"
	"github.com/nomad-sidecar/nomad-sidecar/jobs/sidecars/log-shipper/format"
	"github.com/nomad-sidecar/nomad-sidecar/jobs/sidecars/log-shipper/journal"
	"github.com/nomad-sidecar/nomad-sidecar/jobs/sidecars/log-shipper/tail"
)

func main() { program.Main("log-shipper", run) }

// run ships until ctx is done and all lines written before are sent. It returns after
// all goroutines it started have ended.
func run(ctx context.Context, args []string, getenv func(string) string, log io.Writer) error {
	o, err := parseOptions(args, getenv, log)
	if err != nil {
		return err
	}
	s, err := openShipper(o, getenv, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		return err
	}
	s.log.Info("shipping", "logs", o.logs, "to", o.sink.Redacted(), "series", s.journal.Series(), "shipped", s.journal.Lines())
	return errors.Join(s.run(ctx), s.close())
}

// openShipper opens the sink, journal and tail. On error it closes those it opened.
func openShipper(o options, getenv func(string) string, log *slog.Logger) (s *shipper, err error) {
	s = &shipper{limits: o.limits, times: usualTimes(), log: log}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	source := sourceFromEnv(getenv)
	if s.encode, err = o.encoder(source); err != nil {
		return s, err
	}
	if err := os.MkdirAll(o.state, 0o700); err != nil {
		return s, fmt.Errorf("make the directory of the journal: %w", err)
	}
	if s.journal, err = journal.Open(o.state, source.AllocID); err != nil {
		return s, err
	}
	s.closers = append(s.closers, s.journal)
	if s.sink, err = o.open(s.journal.Position()); err != nil {
		return s, err
	}
	s.closers = append(s.closers, s.sink)
	if err := s.notePosition(); err != nil {
		return s, err
	}
	s.logs, err = tail.Open(o.logs, tail.Options{
		Wanted: o.wanted(getenv("NOMAD_TASK_NAME")), From: s.journal.Places(), MaxLineBytes: o.maxLine,
		Lost: func(stream tail.Stream, what string) {
			log.Warn("lines are lost", "task", stream.Task, "stream", stream.Name, "reason", what)
		},
	})
	if err != nil {
		return s, err
	}
	s.closers = append(s.closers, s.logs)
	return s, nil
}

// sourceFromEnv returns the allocation's metadata from Nomad's variables. Fields are
// empty outside of Nomad.
func sourceFromEnv(getenv func(string) string) format.Source {
	hostname, _ := os.Hostname() // optional label
	return format.Source{
		AllocID: getenv("NOMAD_ALLOC_ID"), Namespace: getenv("NOMAD_NAMESPACE"),
		Job: getenv("NOMAD_JOB_NAME"), Group: getenv("NOMAD_GROUP_NAME"), Hostname: hostname,
	}
}

// wanted returns a filter for the streams to ship. It always excludes the shipper's
// own output, which would feed itself.
func (o options) wanted(own string) func(tail.Stream) bool {
	return func(s tail.Stream) bool {
		return s.Task != own &&
			(len(o.tasks) == 0 || slices.Contains(o.tasks, s.Task)) &&
			!slices.Contains(o.exclude, s.Task) &&
			(len(o.streams) == 0 || slices.Contains(o.streams, s.Name))
	}
}

// directories returns the log directory and the directory for state that survives
// a restart of the task.
func directories(getenv func(string) string) (logs, state string) {
	if dir := getenv("NOMAD_ALLOC_DIR"); dir != "" {
		logs = filepath.Join(dir, "logs")
	}
	if dir := getenv("NOMAD_TASK_DIR"); dir != "" {
		state = filepath.Join(dir, "log-shipper")
	}
	return logs, state
}
