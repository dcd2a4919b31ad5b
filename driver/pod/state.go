package pod

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nomad-sidecar/nomad-sidecar/driver/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/driver/ocispec"
	"github.com/nomad-sidecar/nomad-sidecar/driver/process"
	"github.com/nomad-sidecar/nomad-sidecar/driver/userns"
)

// errDamaged is wrapped by errors about a state file that is unreadable or was written by
// no version of this driver.
var errDamaged = errors.New("damaged state file")

// maxStateBytes bounds a state file. Nomad accepts no larger job.
const maxStateBytes = 4 << 20

// stateVersion is the version of the on-disk state. Readers must support older
// versions and refuse newer ones.
const stateVersion = 1

// podState is stored in pods/ALLOC/pod.json.
type podState struct {
	Version  int              `json:"version"`
	AllocID  string           `json:"alloc_id"`
	Hostname string           `json:"hostname,omitempty"`
	Infra    process.Identity `json:"holder,omitzero"` // of the shared PID namespace
	// NetworkSet is true once the defaults of the network namespace are applied.
	NetworkSet bool `json:"network_set,omitempty"`
	// IDs is the range of ids of the pod's user namespace; nil for the host's user namespace.
	IDs *userns.Range `json:"userns,omitempty"`
	// Gvisor is set if the pod is a gVisor sandbox. Infra is its process.
	Gvisor *gvisorState `json:"gvisor,omitempty"`
}

// taskState is stored in pods/ALLOC/tasks/CONTAINER/task.json, beside the bundle.
type taskState struct {
	Version    int    `json:"version"`
	TaskID     string `json:"task_id"`
	AllocID    string `json:"alloc_id"`
	Name       string `json:"name"`
	Share      Share  `json:"share"`
	CgroupPath string `json:"cgroup_path"`
	// Gvisor is true for a task in a gVisor sandbox. Limits are its part of the sandbox's.
	Gvisor     bool            `json:"gvisor,omitempty"`
	Limits     *ocispec.Limits `json:"limits,omitempty"`
	CpusetPath string          `json:"cpuset_path,omitempty"` // cpuset cgroup of the host, on cgroup v1
	// WithImage is true if the image store may have a layer of the task.
	WithImage bool   `json:"with_image,omitempty"`
	ImageID   string `json:"image_id,omitempty"`
	// ImageMounts is how many mounts of images the image store may have for the task.
	ImageMounts int              `json:"image_mounts,omitempty"`
	Digest      string           `json:"image_digest,omitempty"`
	StopSignal  string           `json:"stop_signal,omitempty"`
	Init        process.Identity `json:"init,omitzero"`
	Monitor     process.Identity `json:"monitor,omitzero"`
	StartedAt   time.Time        `json:"started_at,omitzero"` // zero: not started yet
	ReadyAt     time.Time        `json:"ready_at,omitzero"`   // zero: not ready yet
	After       []string         `json:"after,omitempty"`
	// RestartWith names tasks; Partners has the IDs that they had when this one was started.
	RestartWith []string          `json:"restart_with,omitempty"`
	Partners    map[string]string `json:"partners,omitempty"`
	PreStop     *PreStop          `json:"pre_stop,omitempty"`
	Live        *Live             `json:"live,omitempty"`
	Kill        Kill              `json:"kill,omitzero"`
	Stopping    bool              `json:"stopping,omitempty"` // Nomad has begun to stop the task
	Ending      string            `json:"ending,omitempty"`   // why the driver stops the task, or empty
	// Stdout and Stderr are set if Nomad's log collector reads the task's FIFOs.
	Stdout *pipeState `json:"stdout,omitempty"`
	Stderr *pipeState `json:"stderr,omitempty"`
	// OOMKills counts kills in the cgroup before this start.
	OOMKills uint64 `json:"oom_kills,omitempty"`
}

// writeState replaces a state file atomically: a reader, or this program after a
// crash, finds either the old or the new content.
func writeState(path string, v any) error {
	b, err := json.Marshal(v)
	if err == nil && len(b) > maxStateBytes {
		err = fmt.Errorf("%w: task state exceeds %d bytes; shorten live.exec, pre_stop.args or after", ErrInvalid, maxStateBytes)
	}
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
	err := readState(path, &s, func() int { return s.Version })
	return s, err
}

// taskState reads the state of the task with the given container id. The error is
// os.ErrNotExist, wraps errDamaged, or reports a newer version.
func (p *pod) taskState(id string) (taskState, error) {
	path := filepath.Join(p.taskDir(id), "task.json")
	s, err := readTaskState(path)
	if err == nil && (s.AllocID != p.allocID || containerID(s.AllocID, s.Name, s.TaskID) != id) {
		err = fmt.Errorf("%w: %s belongs to another task", errDamaged, path)
	}
	if err == nil && !ownCgroup(s.AllocID, s.CgroupPath) {
		err = fmt.Errorf("%w: %s names a cgroup that is not the task's", errDamaged, path)
	}
	return s, err
}

// ownCgroup reports whether a cgroup belongs to one task of the allocation. Nomad
// names it ALLOC.TASK or ALLOC.TASK.scope.
func ownCgroup(allocID, path string) bool { return strings.HasPrefix(filepath.Base(path), allocID+".") }

func readPodState(path string) (podState, error) {
	var s podState
	err := readState(path, &s, func() int { return s.Version })
	return s, err
}

func readState(path string, into any, version func() int) error {
	b, err := bounds.ReadFile(path, maxStateBytes)
	if errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%w: %s: %w", errDamaged, path, err)
	}
	switch v := version(); {
	case v > stateVersion:
		return fmt.Errorf("%s: unsupported state version %d, the highest supported is %d; use the newer driver", path, v, stateVersion)
	case v < 1:
		return fmt.Errorf("%w: %s: version %d", errDamaged, path, v)
	}
	return nil
}
