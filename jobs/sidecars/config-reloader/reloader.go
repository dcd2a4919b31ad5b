package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/procfs"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/internal/atomicfile"
	"github.com/nomad-sidecar/nomad-sidecar/jobs/sidecars/config-reloader/render"
	"github.com/nomad-sidecar/nomad-sidecar/jobs/sidecars/config-reloader/target"
)

const (
	// appliedFile, in the state directory, holds the digest of the last
	// configuration that was signalled to the application.
	appliedFile = "config-reloader.applied"

	// firstInterval is the longest interval between attempts to get the first
	// configuration, since the application waits for it.
	firstInterval = time.Second

	// handlerPatience is how long a new process may take to install its signal handler.
	handlerPatience = 10 * time.Second
)

// reloader manages one configuration. It is not safe for concurrent use.
type reloader struct {
	options
	environ []string
	alloc   *os.Root
	state   *os.Root
	sender  target.Sender
	applied string // digest
	status  status
	log     *slog.Logger
}

// open opens the directories. On error it closes those it opened.
func open(o options, env environment, log *slog.Logger) (r *reloader, err error) {
	r = &reloader{options: o, environ: env.all, log: log}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	if r.alloc, err = os.OpenRoot(o.allocDir); err != nil {
		return r, fmt.Errorf("open the allocation's directory: %w", err)
	}
	if r.state, err = os.OpenRoot(o.stateDir); err != nil {
		return r, fmt.Errorf("open the task's directory: %w", err)
	}
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		return r, fmt.Errorf("open the proc file system: %w", err)
	}
	r.sender = target.Sender{Proc: proc, Patience: handlerPatience}
	applied, err := r.state.ReadFile(appliedFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return r, err
	}
	r.applied = string(bytes.TrimSpace(applied))
	r.status = status{Source: o.source.shown(), Destination: r.path(), Task: o.target.Task, Signal: o.signalName}
	return r, nil
}

func (r *reloader) close() error {
	var errs []error
	for _, root := range []*os.Root{r.alloc, r.state} {
		if root != nil {
			errs = append(errs, root.Close())
		}
	}
	return errors.Join(errs...)
}

// path returns the path of the configuration.
func (r *reloader) path() string { return filepath.Join(r.allocDir, r.destination) }

// run runs cycles until ctx is done.
func (r *reloader) run(ctx context.Context, now <-chan os.Signal) {
	for {
		wait := r.interval
		r.report(r.cycle(ctx))
		if r.status.Digest == "" {
			wait = min(wait, firstInterval)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-now:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// cycle updates the configuration once. If it fails, the last good configuration
// stays in place, and the application is signalled if it has not been yet.
func (r *reloader) cycle(ctx context.Context) error {
	text, err := r.produce(ctx)
	if err == nil {
		err = r.replace(ctx, text)
	}
	return errors.Join(err, r.tell(ctx))
}

// produce returns the current configuration of the source, rendered if it is a template.
func (r *reloader) produce(ctx context.Context) ([]byte, error) {
	text, err := r.text.Get(ctx)
	if err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	if r.render {
		if text, err = r.fillIn(ctx, text); err != nil {
			return nil, err
		}
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, errors.New("source: the configuration is empty")
	}
	return text, nil
}

func (r *reloader) fillIn(ctx context.Context, text []byte) ([]byte, error) {
	var values []byte
	if r.data != nil {
		var err error
		if values, err = r.data.Get(ctx); err != nil {
			return nil, fmt.Errorf("values: %w", err)
		}
	}
	data, err := render.NewData(r.environ, values)
	if err != nil {
		return nil, err
	}
	return render.Text(text, data)
}

// replace installs a configuration if it differs and passes the check.
func (r *reloader) replace(ctx context.Context, text []byte) error {
	current, err := r.alloc.ReadFile(r.destination)
	if err == nil && bytes.Equal(current, text) {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the configuration in place: %w", err)
	}
	dir, base := filepath.Split(r.destination)
	if dir != "" {
		if err := r.alloc.MkdirAll(filepath.Clean(dir), 0o755); err != nil {
			return fmt.Errorf("make the directory of %s: %w", r.path(), err)
		}
	}
	// Check the candidate in its directory, so that relative includes resolve.
	candidate := dir + "." + base + ".candidate"
	if err := atomicfile.Write(r.alloc, candidate, text, r.mode); err != nil {
		return err
	}
	if err := r.accept(ctx, filepath.Join(r.allocDir, candidate)); err != nil {
		return errors.Join(err, r.alloc.Remove(candidate))
	}
	if err := r.alloc.Rename(candidate, r.destination); err != nil {
		return fmt.Errorf("put the configuration in place: %w", err)
	}
	r.status.Written = now()
	r.log.Info("written", "path", r.path(), "bytes", len(text), "sha256", digest(text))
	return atomicfile.Sync(r.alloc, dir)
}

// tell signals the application if it has not been signalled for the current
// configuration. If it is not running, it reads the configuration at its start.
func (r *reloader) tell(ctx context.Context) error {
	text, err := r.alloc.ReadFile(r.destination)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the configuration in place: %w", err)
	}
	r.status.Digest = digest(text)
	if r.status.Digest == r.applied {
		return nil
	}
	found, err := r.target.Find(r.sender.Proc)
	if err != nil {
		return err
	}
	pids := []int{}
	for _, p := range found {
		if err := r.sender.Send(ctx, p, r.signal); err != nil {
			return fmt.Errorf("tell task %s: %w", r.target.Task, err)
		}
		pids = append(pids, p.PID)
	}
	if len(pids) > 0 {
		r.status.Signalled, r.status.PIDs = now(), pids
		r.log.Info("signalled", "task", r.target.Task, "signal", r.signalName, "pids", pids)
	}
	r.applied = r.status.Digest
	return atomicfile.Write(r.state, appliedFile, []byte(r.applied+"\n"), 0o600)
}

func digest(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
