package pod

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/nomad-sidecar/nomad-sidecar/driver/process"
)

// stateVersion is the version of what is on disk. A reader refuses what is
// newer; what is older it must be able to read.
const stateVersion = 1

// podState is pods/ALLOC/pod.json.
type podState struct {
	Version  int              `json:"version"`
	AllocID  string           `json:"alloc_id"`
	Hostname string           `json:"hostname,omitempty"`
	Holder   process.Identity `json:"holder,omitzero"` // of the PID namespace
}

// taskState is pods/ALLOC/tasks/CONTAINER/task.json, beside the bundle.
type taskState struct {
	Version    int    `json:"version"`
	TaskID     string `json:"task_id"`
	AllocID    string `json:"alloc_id"`
	Name       string `json:"name"`
	Share      Share  `json:"share"`
	CgroupPath string `json:"cgroup_path"`
	CpusetPath string `json:"cpuset_path,omitempty"` // of the host, on cgroup v1
	// WithImage is whether the image store may have a layer of the task.
	WithImage  bool             `json:"with_image,omitempty"`
	ImageID    string           `json:"image_id,omitempty"`
	Digest     string           `json:"image_digest,omitempty"`
	StopSignal string           `json:"stop_signal,omitempty"`
	Init       process.Identity `json:"init,omitzero"`
	Monitor    process.Identity `json:"monitor,omitzero"`
	StartedAt  time.Time        `json:"started_at,omitzero"` // zero: not started yet
	ReadyAt    time.Time        `json:"ready_at,omitzero"`   // zero: not ready yet
	After      []string         `json:"after,omitempty"`
	PreStop    *PreStop         `json:"pre_stop,omitempty"`
	// Stdout and Stderr are what Nomad's log collector reads, if that has them.
	Stdout *pipeState `json:"stdout,omitempty"`
	Stderr *pipeState `json:"stderr,omitempty"`
	// OOMKills counts kills in the cgroup before this start.
	OOMKills uint64 `json:"oom_kills,omitempty"`
}

// writeState replaces a state file in one step, so that a reader, or this
// program after a crash, sees the old content or the new.
func writeState(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".state-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, werr := f.Write(b)
	if err := errors.Join(werr, f.Close()); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(f.Name()))
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(f.Name()))
	}
	return nil
}

func readTaskState(path string) (taskState, error) {
	var s taskState
	b, err := os.ReadFile(path)
	if err != nil {
		return s, err
	}
	return s, decodeState(path, b, &s, func() int { return s.Version })
}

func readPodState(path string) (podState, error) {
	var s podState
	b, err := os.ReadFile(path)
	if err != nil {
		return s, err
	}
	return s, decodeState(path, b, &s, func() int { return s.Version })
}

func decodeState(path string, b []byte, into any, version func() int) error {
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if v := version(); v < 1 || v > stateVersion {
		return fmt.Errorf("%s: version %d of the state is not known here (this driver knows %d)", path, v, stateVersion)
	}
	return nil
}
