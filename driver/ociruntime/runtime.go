// Package ociruntime drives an OCI runtime (crun, runc, or one that takes the
// same commands) and the monitor beside it, conmon, as commands.
//
// It does not write runtime-specs, keeps no state of its own beside what the
// runtime and conmon write, and does not decide which runtime is right. The
// commands run with an empty environment, so that nothing a task's author
// sets can steer them.
package ociruntime

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver/bounds"
)

// Runtime is an OCI runtime's command and the directory it keeps state in.
type Runtime struct {
	// Path is the absolute path of the command.
	Path string
	// StateDir is given to the runtime as --root. Beside it, in a directory that
	// is there, are logs of commands while they run. It should be on tmpfs: what
	// is in it means nothing after a reboot.
	StateDir string
	// Sealed may have a copy of the command to execute in its place; nil does
	// not.
	Sealed *Sealed
}

// program is the path to execute.
func (r Runtime) program() string { return r.Sealed.program(r.Path) }

// State is what the runtime says of a container, as "state" prints it
// (runtime-spec, runtime.md).
type State struct {
	ID     string `json:"id"`
	Status Status `json:"status"`
	PID    int    `json:"pid"`
	Bundle string `json:"bundle"`
}

// Status of a container in the words of the runtime-spec.
type Status string

// The states of the runtime-spec.
const (
	Creating Status = "creating"
	Created  Status = "created"
	Running  Status = "running"
	Stopped  Status = "stopped"
)

// Name is the command's base name: "crun", "runc".
func (r Runtime) Name() string { return filepath.Base(r.Path) }

// Version returns the version that the command says it has.
func (r Runtime) Version(ctx context.Context) (string, error) {
	return version(ctx, r.Path)
}

// version runs "COMMAND --version" and returns the last word of the first
// line, which is where crun, runc and conmon have it.
func version(ctx context.Context, path string) (string, error) {
	cmd := command(ctx, path, "--version")
	var out bounds.Ring
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s --version: %w", path, err)
	}
	line, _, _ := strings.Cut(string(out.Bytes()), "\n")
	words := strings.Fields(line)
	if len(words) == 0 {
		return "", fmt.Errorf("%s --version printed nothing", path)
	}
	return words[len(words)-1], nil
}

// Start starts the program of a container that was created.
func (r Runtime) Start(ctx context.Context, id string) error { return r.run(ctx, "start", id) }

// Kill sends a signal to the first process of a container.
func (r Runtime) Kill(ctx context.Context, id string, sig unix.Signal) error {
	return r.run(ctx, "kill", id, fmt.Sprint(int(sig)))
}

// deleteTimeout bounds the removal of a container, which happens whether or
// not the caller still waits.
const deleteTimeout = 30 * time.Second

// Delete removes what the runtime keeps of a container, killing it first
// where it still runs. A container it does not know is no error. Of a runtime
// whose command is gone the state is removed, but not what the caller has to
// see to in any case: processes and cgroups.
func (r Runtime) Delete(ctx context.Context, id string) error {
	if _, err := os.Stat(r.Path); errors.Is(err, os.ErrNotExist) {
		return os.RemoveAll(filepath.Join(r.StateDir, id))
	}
	if !r.Known(id) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, deleteTimeout)
	defer cancel()
	err := r.run(ctx, "delete", "--force", id)
	if err == nil || !r.Known(id) {
		return nil
	}
	return err
}

// Known tells whether the runtime has state of a container.
func (r Runtime) Known(id string) bool {
	_, err := os.Stat(filepath.Join(r.StateDir, id))
	return err == nil
}

// State asks for the state of a container. The error is ErrNotFound where the
// runtime does not know it.
func (r Runtime) State(ctx context.Context, id string) (State, error) {
	if !r.Known(id) {
		return State{}, fmt.Errorf("container %s: %w", id, ErrNotFound)
	}
	cmd, log := r.command(ctx, "state", id)
	defer log.remove()
	var out limited
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		return State{}, log.explain(fmt.Sprintf("%s state %s", r.Name(), id), err)
	}
	var s State
	if err := json.Unmarshal(out.Bytes(), &s); err != nil {
		return State{}, fmt.Errorf("%s state %s: %w", r.Name(), id, err)
	}
	return s, nil
}

// limited keeps output of at most maxStateBytes, and refuses more.
type limited struct{ bytes.Buffer }

// maxStateBytes holds a state with the annotations of a container.
const maxStateBytes = 4 << 20

func (l *limited) Write(p []byte) (int, error) {
	if l.Len()+len(p) > maxStateBytes {
		return 0, fmt.Errorf("more than %d bytes", maxStateBytes)
	}
	return l.Buffer.Write(p)
}

// Probe makes a container of a bundle and removes it without starting it. It
// shows whether the runtime can do on this host what the bundle asks for:
// namespaces, mounts, cgroups, seccomp.
func (r Runtime) Probe(ctx context.Context, id, bundle string) error {
	err := r.make(ctx, "create", "--bundle", bundle, id)
	if err == nil {
		var s State
		if s, err = r.State(ctx, id); err == nil && s.Status != Created {
			err = fmt.Errorf("%s create %s: the container is %q afterwards, not %q", r.Name(), id, s.Status, Created)
		}
	}
	// A create that failed half-way may leave state as well.
	return errors.Join(err, r.Delete(context.WithoutCancel(ctx), id))
}

// RunDetached creates and starts a container without a monitor and returns
// the id of its first process. Its end is seen by who holds the process only:
// the exit code is lost.
func (r Runtime) RunDetached(ctx context.Context, id, bundle string) (int, error) {
	pidFile := filepath.Join(bundle, "pid")
	if err := r.make(ctx, "run", "--detach", "--bundle", bundle, "--pid-file", pidFile, id); err != nil {
		return 0, err
	}
	return readPID(pidFile)
}

// make runs a command that makes a container. It dies with this process: one
// that went on alone could make the container after what is in its cgroup was
// killed. What it has begun is in that cgroup or ends when it does.
func (r Runtime) make(ctx context.Context, args ...string) error {
	cmd, log := r.command(ctx, args...)
	defer dieWithUs(cmd)()
	return r.finish(cmd, log, args)
}

func (r Runtime) run(ctx context.Context, args ...string) error {
	cmd, log := r.command(ctx, args...)
	return r.finish(cmd, log, args)
}

func (r Runtime) finish(cmd *exec.Cmd, log logFile, args []string) error {
	defer log.remove()
	// A container that is created detached would hold a pipe open for as long
	// as it lives, so there is none.
	if err := cmd.Run(); err != nil {
		return log.explain(r.Name()+" "+args[0]+" "+args[len(args)-1], err)
	}
	return nil
}

func (r Runtime) command(ctx context.Context, args ...string) (*exec.Cmd, logFile) {
	log := newLogFile(filepath.Dir(r.StateDir))
	return command(ctx, r.program(), append(r.globalArgs(log.path), args...)...), log
}

// globalArgs stand before the verb. crun takes only the form with "=".
func (r Runtime) globalArgs(logPath string) []string {
	return []string{"--root=" + r.StateDir, "--log=" + logPath, "--log-format=json"}
}

// waitDelay bounds how long a child that a command has left can hold its output
// open.
const waitDelay = 2 * time.Second

func command(ctx context.Context, path string, args ...string) *exec.Cmd {
	// What this process was started with, or a library has open for all, would
	// be inherited, and a task could make it its working directory
	// (CVE-2024-21626). Kernels before 5.11 can not do it.
	_ = unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC)
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = []string{}
	cmd.WaitDelay = waitDelay
	// A signal to the plugin's group, as a terminal's interrupt sends, is not
	// meant for containers.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// dieWithUs has a command killed when this process is. Its children are not.
// The kernel takes the thread that starts it for the parent, so that this
// goroutine keeps the thread until what is returned was called.
func dieWithUs(cmd *exec.Cmd) (done func()) {
	runtime.LockOSThread()
	cmd.SysProcAttr.Pdeathsig = unix.SIGKILL
	return runtime.UnlockOSThread
}

// logFile is where a runtime writes why it failed; its standard error may be
// the task's.
type logFile struct{ path string }

const logPrefix, logSuffix = "runtime-", ".log"

// IsLog tells by its name whether a file beside StateDir is the log of a
// command of the runtime. It is there only while the command runs, or when this
// process was killed meanwhile.
func IsLog(name string) bool {
	return strings.HasPrefix(name, logPrefix) && strings.HasSuffix(name, logSuffix)
}

func newLogFile(dir string) logFile {
	f, err := os.CreateTemp(dir, logPrefix+"*"+logSuffix)
	if err != nil {
		return logFile{os.DevNull}
	}
	_ = f.Close() // nothing was written
	return logFile{f.Name()}
}

func (l logFile) remove() {
	if l.path != os.DevNull {
		_ = os.Remove(l.path)
	}
}

// explain adds what the runtime logged to the error of its command.
func (l logFile) explain(what string, err error) error {
	if msg := l.lastError(); msg != "" {
		return fmt.Errorf("%s: %s: %w", what, msg, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

func (l logFile) lastError() string {
	f, err := os.Open(l.path)
	if err != nil {
		return ""
	}
	defer f.Close()
	// The last words count. Where there are not as many, it is read from the
	// beginning.
	_, _ = f.Seek(-maxWords, io.SeekEnd)
	b, err := io.ReadAll(io.LimitReader(f, maxWords))
	if err != nil {
		return ""
	}
	return bounds.Text(lastError(b))
}

// lastError finds the last error in a runtime's log, which has a JSON object a
// line. A line that is cut off is none.
func lastError(log []byte) (message string) {
	for line := range bytes.Lines(log) {
		var entry struct{ Level, Msg string }
		if json.Unmarshal(line, &entry) == nil && entry.Msg != "" && (entry.Level == "error" || entry.Level == "fatal") {
			message = entry.Msg
		}
	}
	return message
}
