// Package ociruntime runs the commands of an OCI runtime (crun, runc, or a compatible
// one) and of conmon, the monitor of a container.
//
// It does not write runtime-specs, stores no state except the files of the runtime
// and conmon, and does not choose a runtime. The commands run with an empty
// environment, so that a task's author cannot influence them.
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

// Runtime is the command of an OCI runtime and its state directory.
type Runtime struct {
	// Path is the absolute path of the command.
	Path string
	// StateDir is passed to the runtime as --root. Its parent must exist and holds logs
	// of running commands. It should be on tmpfs: its content is meaningless after a
	// reboot.
	StateDir string
	// Sealed provides a copy of the command to execute instead; nil does not.
	Sealed *Sealed
	// Gvisor is set for gVisor's runsc.
	Gvisor bool
	// Args are the operator's global arguments of the command.
	Args []string
}

// program returns the path to execute.
func (r Runtime) program() string { return r.Sealed.program(r.Path) }

// State is the state of a container as printed by the runtime's "state" command
// (runtime-spec, runtime.md).
type State struct {
	ID     string `json:"id"`
	Status Status `json:"status"`
	PID    int    `json:"pid"`
	Bundle string `json:"bundle"`
}

// Status is a container status of the runtime-spec.
type Status string

// The container states of the runtime-spec.
const (
	Creating Status = "creating"
	Created  Status = "created"
	Running  Status = "running"
	Stopped  Status = "stopped"
)

// Name returns the command's base name: "crun", "runc".
func (r Runtime) Name() string { return filepath.Base(r.Path) }

// Version returns the version that the command prints. It is printable and at most maxVersionBytes
// long. For gVisor the error says whether another program printed it.
func (r Runtime) Version(ctx context.Context) (string, error) {
	if !r.Gvisor {
		return version(ctx, r.Path)
	}
	line, err := versionLine(ctx, r.Path)
	if err != nil {
		return "", err
	}
	v, ok := strings.CutPrefix(line, "runsc version ")
	if !ok || v == "" || lastWord(v) != v {
		return "", fmt.Errorf("%s is not runsc: --version printed %q", r.Path, line)
	}
	return v, nil
}

// version runs "COMMAND --version" and returns the last word of the first line, the
// version of crun, runc and conmon.
func version(ctx context.Context, path string) (string, error) {
	line, err := versionLine(ctx, path)
	if err != nil {
		return "", err
	}
	if strings.TrimSpace(line) == "" {
		return "", fmt.Errorf("%s --version printed nothing", path)
	}
	word := lastWord(line)
	if word == "" {
		return "", fmt.Errorf("%s --version printed no version: %q", path, line)
	}
	return word, nil
}

// maxVersionBytes fits the line with the version of a program that was built from any commit.
const maxVersionBytes = 150

// versionLine returns the first line that "COMMAND --version" prints, or its beginning.
func versionLine(ctx context.Context, path string) (string, error) {
	cmd := command(ctx, path, "--version")
	// Its children would outlive it.
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	var out bounds.Ring
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s --version: %w", path, err)
	}
	line, _, _ := strings.Cut(string(out.Bytes()), "\n")
	return line[:min(len(line), maxVersionBytes)], nil
}

// lastWord returns the last word of a line if it is printable.
func lastWord(line string) string {
	words := strings.Fields(line)
	if len(words) == 0 {
		return ""
	}
	word := words[len(words)-1]
	if strings.ContainsFunc(word, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return ""
	}
	return word
}

// Start starts the program of a created container. In a sandbox Monitor.Create has
// already started it.
func (r Runtime) Start(ctx context.Context, id, bundle string) error {
	if r.Gvisor {
		return release(bundle)
	}
	return r.run(ctx, "start", id)
}

// Kill sends a signal to the first process of a container.
func (r Runtime) Kill(ctx context.Context, id string, sig unix.Signal) error {
	return r.run(ctx, "kill", id, fmt.Sprint(int(sig)))
}

// deleteTimeout bounds the removal of a container, which runs even if the caller has
// stopped waiting.
const deleteTimeout = 30 * time.Second

// Delete removes a container from the runtime and kills it if it still runs. It
// returns nil for an unknown container. If the runtime's command no longer exists,
// only the state is removed. Remaining processes and cgroups are the caller's task.
func (r Runtime) Delete(ctx context.Context, id string) error {
	if _, err := os.Stat(r.Path); errors.Is(err, os.ErrNotExist) {
		if r.Gvisor {
			return r.forgetGvisor(id)
		}
		return os.RemoveAll(filepath.Join(r.StateDir, id))
	}
	if !r.Known(id) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, deleteTimeout)
	defer cancel()
	err := r.run(ctx, "delete", "--force", id)
	if err != nil && r.Gvisor && r.sandboxEnded(id) {
		err = r.forgetGvisor(id)
	}
	if err == nil || !r.Known(id) {
		return nil
	}
	return err
}

// Known reports whether the runtime has state of a container.
func (r Runtime) Known(id string) bool {
	if r.Gvisor {
		return r.gvisorState(id) != ""
	}
	_, err := os.Stat(filepath.Join(r.StateDir, id))
	return err == nil
}

// State returns the state of a container, or ErrNotFound if the runtime does not know
// it.
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

// limited is a buffer that refuses more than maxStateBytes.
type limited struct{ bytes.Buffer }

// maxStateBytes fits a state with the annotations of a container.
const maxStateBytes = 4 << 20

func (l *limited) Write(p []byte) (int, error) {
	if l.Len()+len(p) > maxStateBytes {
		return 0, fmt.Errorf("more than %d bytes", maxStateBytes)
	}
	return l.Buffer.Write(p)
}

// Probe creates the container of a bundle and removes it without starting it. It
// checks that the runtime supports the bundle's features on this host: namespaces,
// mounts, cgroups, seccomp.
func (r Runtime) Probe(ctx context.Context, id, bundle string) error {
	err := r.make(ctx, "create", "--bundle", bundle, id)
	if err == nil {
		var s State
		if s, err = r.State(ctx, id); err == nil && s.Status != Created {
			err = fmt.Errorf("%s create %s: container status is %q instead of %q", r.Name(), id, s.Status, Created)
		}
	}
	// A failed create may leave state too.
	return errors.Join(err, r.Delete(context.WithoutCancel(ctx), id))
}

// RunDetached creates and starts a container without a monitor and returns the PID
// of its first process. Its exit code is lost, and only the process itself shows
// that it has ended.
func (r Runtime) RunDetached(ctx context.Context, id, bundle string) (int, error) {
	pidFile := filepath.Join(bundle, "pid")
	if err := r.make(ctx, "run", "--detach", "--bundle", bundle, "--pid-file", pidFile, id); err != nil {
		return 0, err
	}
	return readPID(pidFile)
}

// make runs a command that creates a container. The command dies with this process:
// otherwise it could create the container after the processes in its cgroup were
// killed. Its children are in that cgroup or end when it does.
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
	// A detached container would hold a pipe open for as long as it lives, so use
	// none.
	if err := cmd.Run(); err != nil {
		return log.explain(r.Name()+" "+args[0]+" "+args[len(args)-1], err)
	}
	return nil
}

func (r Runtime) command(ctx context.Context, args ...string) (*exec.Cmd, logFile) {
	log := newLogFile(filepath.Dir(r.StateDir))
	return command(ctx, r.program(), append(r.globalArgs(log.path), args...)...), log
}

// globalArgs precede the verb. crun accepts only the form with "=".
func (r Runtime) globalArgs(logPath string) []string {
	args := []string{"--root=" + r.StateDir, "--log=" + logPath, "--log-format=json"}
	if r.Gvisor {
		args = append(args, gvisorArgs()...)
	}
	return append(args, r.Args...)
}

// waitDelay bounds how long children of an ended command may hold its output open.
const waitDelay = 2 * time.Second

func command(ctx context.Context, path string, args ...string) *exec.Cmd {
	// Descriptors inherited by this process, or opened by a library without
	// close-on-exec, would be passed on, and a task could make one its working
	// directory (CVE-2024-21626). Kernels before 5.11 do not support the call.
	_ = unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC)
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = []string{}
	cmd.WaitDelay = waitDelay
	// Containers must not receive a signal to the plugin's process group, such as a
	// terminal's interrupt.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// dieWithUs makes a command die with this process; its children do not. The kernel
// treats the thread that starts it as its parent, so this goroutine keeps the thread
// until done is called.
func dieWithUs(cmd *exec.Cmd) (done func()) {
	runtime.LockOSThread()
	cmd.SysProcAttr.Pdeathsig = unix.SIGKILL
	return runtime.UnlockOSThread
}

// logFile is where a runtime writes its errors; its standard error may be the
// task's.
type logFile struct{ path string }

const logPrefix, logSuffix = "runtime-", ".log"

// IsLog reports whether a file beside StateDir is, by its name, the log of a runtime
// command. It exists only while the command runs, or if this process was killed
// meanwhile.
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

// explain adds the runtime's logged error to the error of its command.
func (l logFile) explain(what string, err error) error {
	msg := l.lastError()
	switch {
	case msg != "" && errors.Is(err, errNoReport):
		return fmt.Errorf("%s: %s", what, msg)
	case msg != "":
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
	// Read the end of the log; a shorter log is read from the beginning.
	_, _ = f.Seek(-maxWords, io.SeekEnd)
	b, err := io.ReadAll(io.LimitReader(f, maxWords))
	if err != nil {
		return ""
	}
	return bounds.Text(lastError(b))
}

// lastError returns the last error in a runtime's log, which has one JSON object per
// line; runsc writes no line ends. It skips a truncated object.
func lastError(log []byte) (message string) {
	for line := range bytes.SplitSeq(bytes.ReplaceAll(log, []byte("}{"), []byte("}\n{")), []byte("\n")) {
		var entry struct{ Level, Msg string }
		if json.Unmarshal(line, &entry) == nil && entry.Msg != "" && (entry.Level == "error" || entry.Level == "fatal") {
			message = entry.Msg
		}
	}
	return message
}
