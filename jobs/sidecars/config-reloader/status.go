package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/internal/atomicfile"
)

// statusDir and statusFile are below the allocation's directory.
const (
	statusDir  = "config-reloader"
	statusFile = statusDir + "/status.json"
)

// status is the content of statusFile. Times are omitted for events that have not
// occurred in the life of this process.
type status struct {
	Source      string     `json:"source"`
	Destination string     `json:"destination"`
	Task        string     `json:"task"`
	Signal      string     `json:"signal"`
	Digest      string     `json:"sha256,omitempty"` // of the current configuration
	Written     *time.Time `json:"written_at,omitempty"`
	Signalled   *time.Time `json:"signalled_at,omitempty"`
	PIDs        []int      `json:"pids,omitempty"` // signalled processes, in the pod's namespace
	Checked     *time.Time `json:"checked_at,omitempty"`
	Error       string     `json:"error,omitempty"` // of the last cycle
}

func now() *time.Time {
	t := time.Now().UTC()
	return &t
}

// report logs the result of a cycle, once per distinct error, and writes the status.
func (r *reloader) report(err error) {
	before := r.status.Error
	r.status.Error, r.status.Checked = "", now()
	if err != nil {
		r.status.Error = err.Error()
	}
	switch {
	case r.status.Error == before:
	case err != nil:
		r.log.Error("not up to date", "error", err)
	default:
		r.log.Info("all is well again")
	}
	if err := r.writeStatus(); err != nil {
		r.log.Error("no status", "error", err)
	}
}

func (r *reloader) writeStatus() error {
	text, err := json.MarshalIndent(r.status, "", "  ")
	if err != nil {
		return err
	}
	if err := r.alloc.MkdirAll(statusDir, 0o755); err != nil {
		return fmt.Errorf("make the directory of the status: %w", err)
	}
	return atomicfile.Write(r.alloc, statusFile, append(text, '\n'), 0o644)
}
