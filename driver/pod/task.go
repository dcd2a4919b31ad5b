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

// Task describes one task of a pod. All decisions that need Nomad are already made.
// Fields with "Host" in their name are paths on the host.
type Task struct {
	// ID is unique for every start of a task. AllocID names the pod.
	ID, AllocID, Name string

	Share Share
	// HostNamespaces selects namespaces of the host instead of the pod's or the task's own.
	HostNamespaces Share
	Hostname       string // of the pod; the first task sets it
	// Userns puts the task in a user namespace of the pod: its root is not root of the host. All tasks
	// of a pod must agree. users is set when the task joins the pod.
	Userns bool
	users  *users
	// Gvisor puts the task in a gVisor sandbox of the pod. All tasks of a pod must agree.
	Gvisor bool
	// Runtime is the name that the plugin's runtime must have; empty: any.
	Runtime string
	Network Network

	Image   *Image // nil: use host paths as the root
	Process Process

	ImageMounts    []ImageMount
	Mounts         []ocispec.Mount
	UntrustedBinds []UntrustedBind // mounted after Mounts
	Devices        []Device
	// EditSpec changes the runtime-spec, with the operator's rights; nil changes nothing.
	EditSpec     func(*specs.Spec) error
	ReadonlyRoot bool
	Capabilities []string // CAP_…
	Ambient      []string // the subset of Capabilities that users other than root get too
	Limits       ocispec.Limits
	CgroupPath   string // relative to the root of the hierarchy
	// CpusetHostPath is the cgroup v1 directory that sets the task's CPUs, including
	// later changes. Limits sets no CPUs then.
	CpusetHostPath string

	// Logs makes the log collector store the task's output. If it is nil,
	// StdoutHostPath and StderrHostPath are FIFOs that Nomad reads, or /dev/null.
	Logs                           *Logs
	StdoutHostPath, StderrHostPath string
	// AllocDirHostPath is trusted; the directories between it and a FIFO are not.
	AllocDirHostPath string

	Ready *Ready   // nil: ready when running
	After []string // tasks of the pod that must be ready before this one starts
	// RestartWith names tasks of the pod that this one starts after and stops with.
	RestartWith []string
	Live        *Live // nil: not checked once it is ready
	PreStop     *PreStop
	Kill        Kill
	Volumes     []Volume
	// ShmSizeBytes is the minimum size of /dev/shm; 0 means the default.
	ShmSizeBytes int64

	// AllowUser returns an error for a user that the task may not run as; nil allows any. It is
	// called with the resolved user before the container is created.
	AllowUser func(ocispec.User) error

	// Privileged removes confinement and adds every device of the host.
	Privileged  bool
	Security    ocispec.Security
	Labels      map[string]string // override the image's
	Rlimits     []specs.POSIXRlimit
	Sysctl      map[string]string
	OOMScoreAdj int
	Files       []File
}

// File is written for a task and mounted into it.
type File struct {
	Target   string
	Content  []byte
	Readonly bool
}

// PreStop is a command that runs in the task before the stop signal is sent.
type PreStop struct {
	Args    []string
	Timeout time.Duration
}

// UntrustedBind is a bind mount of a source inside a directory that tasks can write to.
// No symbolic link in Name is followed.
type UntrustedBind struct {
	Key         string // of the task's config, or empty for a directory of Nomad's
	DirHostPath string // trusted
	Name        string // relative to DirHostPath
	Target      string
	Readonly    bool
	Make        bool // create a missing source as a directory
}

// Device is a device node of the host that a task gets.
type Device struct {
	HostPath, TaskPath string
	Permissions        string // some of "rwm"; empty means all
}

// Share selects the namespaces that a task shares with other tasks of its pod that
// share them too.
type Share struct {
	IPC bool `json:"ipc"` // with /dev/shm and POSIX message queues
	UTS bool `json:"uts"` // the hostname
	PID bool `json:"pid"` // the process list
}

// Network configures a task's network.
type Network struct {
	// NamespaceHostPath is the network namespace to join. If empty, the task uses the
	// host's, or with None a new one that has only loopback.
	NamespaceHostPath string
	None              bool
}

// Image is the image that provides a task's root file system.
type Image struct {
	Reference image.Reference
	Pull      image.PullOptions
}

// MaxImageMounts is the maximum number of a task's image mounts. Each is a mount on the host for as
// long as the task exists.
const MaxImageMounts = 32

// ImageMount mounts the files of an image, read-only.
type ImageMount struct {
	Image
	// Subpath is the directory or regular file of the image to mount, clean and relative; "." is
	// the image's root. Symbolic links are followed within the image.
	Subpath string
	Target  string
}

// Process is the program of a task. Empty fields default to the image's.
type Process struct {
	Entrypoint []string
	// Command is the program and its arguments, or only arguments after an entrypoint.
	Command []string
	Env     []string // NAME=value; overrides the image's
	WorkDir string
	User    string   // "user", "uid", "user:group", as USER of a Containerfile
	Groups  []string // names or numbers, in addition to the user's groups
	Init    bool     // run an init process that reaps zombies and forwards signals
}

// Exit describes how a task ended.
type Exit struct {
	// Code is the exit code, or 128 plus the signal number.
	Code int
	// Signal is the number of the signal that ended the task's first process, or 0.
	Signal int
	// OOMKilled is true if the first process was killed because the task exceeded its
	// memory limit.
	OOMKilled bool
	// Err is why the exit status is unknown, or what killed the task from outside.
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

// hostUser is the default user of a task without an image, as in Nomad's exec
// driver.
const hostUser = "nobody"

var (
	uuid = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	safe = regexp.MustCompile(`[^A-Za-z0-9_.-]+`)
)

// containerID returns the container ID for the OCI runtime. It is unique per task
// ID, contains the allocation and task name, and is a safe file name for any task
// name.
func containerID(allocID, name, taskID string) string {
	const nameMax, sumLen = 40, 4
	sum := sha256.Sum256([]byte(taskID))
	short := safe.ReplaceAllString(name, "_")
	return allocID + "." + short[:min(len(short), nameMax)] + "." + hex.EncodeToString(sum[:sumLen])
}

// Check rejects an invalid task before anything is created. Start calls it too.
func (t Task) Check() error {
	if t.ID == "" || t.Name == "" {
		return fmt.Errorf("%w: task has no id or no name", ErrInvalid)
	}
	// Names become path elements. Nomad already refuses such a job.
	if t.Name == "." || t.Name == ".." || strings.ContainsAny(t.Name, "/\x00") {
		return fmt.Errorf("%w: task name %q: want a valid file name", ErrInvalid, t.Name)
	}
	// So does the allocation ID: CVE-2026-14891 is about the ID "..".
	if !uuid.MatchString(t.AllocID) {
		return fmt.Errorf("%w: allocation id %q is not a UUID", ErrInvalid, t.AllocID)
	}
	if t.Image == nil && len(t.Process.Entrypoint)+len(t.Process.Command) == 0 {
		return fmt.Errorf("%w: no command: set \"command\", or an \"image\" that has one", ErrInvalid)
	}
	if filepath.Clean("/"+t.CgroupPath) == "/" {
		return fmt.Errorf("%w: task has no cgroup", ErrInvalid)
	}
	for _, v := range t.Volumes {
		if !volumeName.MatchString(v.Name) {
			return fmt.Errorf("%w: pod_volume %q: want a name of letters, digits, dashes and underscores", ErrInvalid, v.Name)
		}
	}
	if slices.Contains(t.After, t.Name) {
		return fmt.Errorf("%w: after = [%q]: a task cannot come after itself", ErrInvalid, t.Name)
	}
	if slices.Contains(t.RestartWith, t.Name) {
		return fmt.Errorf("%w: restart_with = [%q]: a task cannot name itself", ErrInvalid, t.Name)
	}
	if len(t.ImageMounts) > MaxImageMounts {
		return fmt.Errorf("%w: %d mounts of images: want at most %d", ErrInvalid, len(t.ImageMounts), MaxImageMounts)
	}
	for _, target := range t.mountTargets() {
		if !filepath.IsAbs(target) {
			return fmt.Errorf("%w: mount target %q is not an absolute path", ErrInvalid, target)
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
