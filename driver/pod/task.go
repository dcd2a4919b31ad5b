package pod

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
	"github.com/nomad-sidecar/nomad-sidecar/driver/ocispec"
)

// Task describes one task of a pod, with everything decided that needs Nomad
// to decide. Paths with "Host" in their name are the host's.
type Task struct {
	// ID is unique for every start of a task. AllocID names the pod.
	ID, AllocID, Name string

	Share Share
	// HostNamespaces are the host's instead of the pod's or the task's own.
	HostNamespaces Share
	Hostname       string // of the pod; the first task's counts
	Network        Network

	Image   *Image // nil: the host paths are the root
	Process Process

	Mounts       []ocispec.Mount
	Beneath      []Beneath // after Mounts
	Devices      []Device
	ReadonlyRoot bool
	Capabilities []string // CAP_…
	Ambient      []string // those of Capabilities that users other than root have too
	Limits       ocispec.Limits
	CgroupPath   string // from the root of the hierarchy
	// CpusetHostPath is on v1 the directory of the group whose processors the
	// task has, also when they change. Limits has none then.
	CpusetHostPath string

	// Logs has the task's output collected. Without it StdoutHostPath and
	// StderrHostPath are FIFOs that somebody else reads, or /dev/null.
	Logs                           *Logs
	StdoutHostPath, StderrHostPath string
	// AllocDirHostPath is trusted, unlike the directories below it on the way to
	// a FIFO.
	AllocDirHostPath string

	Ready   *Ready   // nil: ready when running
	After   []string // names of tasks of the pod that must be ready before
	PreStop *PreStop
	Volumes []Volume
	// ShmSizeBytes is the least that /dev/shm must hold; 0 is the default.
	ShmSizeBytes int64

	// AllowUser returns an error for a user that the task may not run as; nil allows any. It is
	// called with the resolved user before the container is created.
	AllowUser func(ocispec.User) error

	// Privileged takes confinement away and gives every device of the host.
	Privileged  bool
	Security    ocispec.Security
	Labels      map[string]string // win over the image's
	Rlimits     []specs.POSIXRlimit
	Sysctl      map[string]string
	OOMScoreAdj int
	Files       []File
}

// File is a file that is written for a task and mounted into it.
type File struct {
	Target   string
	Content  []byte
	Readonly bool
}

// PreStop is a command that runs in the task before it is sent its signal.
type PreStop struct {
	Args    []string
	Timeout time.Duration
}

// Beneath is a bind mount whose source is in a directory that tasks can write
// to. No symbolic link on the way to it is followed.
type Beneath struct {
	DirHostPath string // trusted
	Name        string // relative to it
	Target      string
	Readonly    bool
	Make        bool // a directory, where there is nothing
}

// Device is a device node of the host that a task gets.
type Device struct {
	HostPath, TaskPath string
	Permissions        string // of "rwm"; all where empty
}

// Share tells which namespaces a task has in common with those of its pod
// that share them too.
type Share struct {
	IPC bool `json:"ipc"` // with /dev/shm and POSIX message queues
	UTS bool `json:"uts"` // the hostname
	PID bool `json:"pid"` // the process list
}

// Network is what a task sees of the network.
type Network struct {
	// NamespaceHostPath is the network namespace to join. Empty is the
	// host's, or with None a new one that has loopback only.
	NamespaceHostPath string
	None              bool
}

// Image is the image whose file system is a task's root.
type Image struct {
	Reference image.Reference
	Pull      image.PullOptions
}

// Process is what runs in a task. What is empty comes from the image.
type Process struct {
	Entrypoint []string
	// Command is the program, or with an entrypoint its arguments.
	Command []string
	Env     []string // NAME=value; wins over the image's
	WorkDir string
	User    string   // "user", "uid", "user:group", as USER of a Containerfile
	Groups  []string // names or numbers, beside those of the user
	Init    bool     // a first process that reaps and passes signals on
}

// Exit is how a task ended.
type Exit struct {
	// Code is the exit code, or 128 and the signal's number.
	Code int
	// Signal is the number of the signal that ended the task's first process,
	// or 0.
	Signal int
	// OOMKilled says that the first process was killed because the task was
	// over its memory limit.
	OOMKilled bool
	// Err says why nothing of the above is known, or what ended the task
	// from outside.
	Err error
	At  time.Time
}

func (e Exit) String() string {
	switch {
	case e.Err != nil:
		return e.Err.Error()
	case e.OOMKilled:
		return "killed, out of memory"
	case e.Signal != 0:
		return "killed by " + unix.SignalName(unix.Signal(e.Signal))
	}
	return fmt.Sprintf("exit code %d", e.Code)
}

// hostUser is who a task without an image runs as where nothing else is said,
// as with Nomad's exec driver.
const hostUser = "nobody"

var (
	uuid = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	safe = regexp.MustCompile(`[^A-Za-z0-9_.-]+`)
)

// containerID names the container of a task for the OCI runtime. It is unique
// for the task's ID, says which allocation and task it is, and is a safe file
// name whatever the task is called.
func containerID(allocID, name, taskID string) string {
	const nameMax, sumLen = 40, 4
	sum := sha256.Sum256([]byte(taskID))
	short := safe.ReplaceAllString(name, "_")
	return allocID + "." + short[:min(len(short), nameMax)] + "." + hex.EncodeToString(sum[:sumLen])
}

// Check refuses what can not be run, before anything is made. Start does so
// too.
func (t Task) Check() error {
	if t.ID == "" || t.Name == "" {
		return fmt.Errorf("%w: it has no id or no name", ErrInvalid)
	}
	// Names become parts of paths. Nomad refuses such a job already.
	if t.Name == "." || t.Name == ".." || strings.ContainsAny(t.Name, "/\x00") {
		return fmt.Errorf("%w: task name %q: want one that can be the name of a file", ErrInvalid, t.Name)
	}
	// The allocation's id as well: CVE-2026-14891 is about one that was "..".
	if !uuid.MatchString(t.AllocID) {
		return fmt.Errorf("%w: allocation id %q is not a UUID", ErrInvalid, t.AllocID)
	}
	if t.Image == nil && len(t.Process.Entrypoint)+len(t.Process.Command) == 0 {
		return fmt.Errorf("%w: there is no command: set \"command\", or an \"image\" that has one", ErrInvalid)
	}
	if filepath.Clean("/"+t.CgroupPath) == "/" {
		return fmt.Errorf("%w: it has no cgroup", ErrInvalid)
	}
	for _, v := range t.Volumes {
		if !volumeName.MatchString(v.Name) {
			return fmt.Errorf("%w: pod_volume %q: want a name of letters, digits, dashes and underscores", ErrInvalid, v.Name)
		}
	}
	if slices.Contains(t.After, t.Name) {
		return fmt.Errorf("%w: after = [%q]: a task can not come after itself", ErrInvalid, t.Name)
	}
	for _, m := range t.Mounts {
		if !filepath.IsAbs(m.Target) {
			return fmt.Errorf("%w: mount target %q is not an absolute path", ErrInvalid, m.Target)
		}
	}
	return t.checkTargets(func(target string) (string, error) { return filepath.Clean(target), nil })
}

// args returns the command line as docker builds it: an entrypoint of the task discards the image's
// entrypoint and command, and [""] is an empty entrypoint.
func (p Process) args(img image.ImageConfig) []string {
	entrypoint, command := p.Entrypoint, p.Command
	if slices.Equal(entrypoint, []string{""}) {
		return command
	}
	if len(entrypoint) == 0 {
		entrypoint = img.Entrypoint
		if len(command) == 0 {
			command = img.Cmd
		}
	}
	return slices.Concat(entrypoint, command)
}
