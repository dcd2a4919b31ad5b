package ociruntime

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver/bounds"
)

// ExecOptions describe a program to run in a running container.
type ExecOptions struct {
	// Process is the program, with its environment, user and limits.
	// Process.Terminal gives it a terminal.
	Process *specs.Process
	Stdin   io.Reader // nil is no input
	Stdout  io.Writer
	Stderr  io.Writer // unused with a terminal, which has one stream only
	// Resize receives the terminal's size whenever it changes. It may be nil.
	Resize <-chan Size
	// Dir is an existing directory for files that live as long as the call.
	Dir string
	// Owner is the host's id of root of the container's user namespace: pipes belong to it, so that
	// the program can open /dev/stdout. Zero if the container has none.
	Owner uint32
}

// Size of a terminal in characters.
type Size struct{ Rows, Columns uint16 }

// Exec runs a program in a container and returns its exit code, or 128 plus the
// signal number. It returns an error if the program cannot be started. When ctx is
// done the program is killed.
func (r Runtime) Exec(ctx context.Context, id string, o ExecOptions) (int, error) {
	dir, err := os.MkdirTemp(o.Dir, "exec-")
	if err != nil {
		return 0, fmt.Errorf("exec in %s: %w", id, err)
	}
	defer os.RemoveAll(dir)
	spec, err := json.Marshal(o.Process)
	if err != nil {
		return 0, fmt.Errorf("exec in %s: %w", id, err)
	}
	processFile, pidFile := filepath.Join(dir, "process.json"), filepath.Join(dir, "pid")
	if err := os.WriteFile(processFile, spec, 0o600); err != nil {
		return 0, fmt.Errorf("exec in %s: %w", id, err)
	}
	log := logFile{filepath.Join(dir, "log")}
	args := append(r.globalArgs(log.path), "exec", "--process", processFile, "--pid-file", pidFile)
	insideFile := filepath.Join(dir, "inside")
	if r.Gvisor {
		args = append(args, "--internal-pid-file", insideFile)
	}
	run := runOnPipes
	if o.Process.Terminal {
		term, err := r.newTerminal(dir)
		if err != nil {
			return 0, fmt.Errorf("exec in %s: %w", id, err)
		}
		defer term.close()
		if !r.Gvisor { // its standard input tells it
			args = append(args, "--tty")
		}
		args = append(args, term.args()...)
		run = func(cmd *exec.Cmd, o ExecOptions) error { return runOnTerminal(ctx, cmd, term, o) }
	}
	needsReaper := r.Name() == "runc" && !o.Process.Terminal
	if needsReaper {
		args = append(args, "--detach")
	}
	cmd := command(ctx, r.program(), append(args, id)...)
	if needsReaper {
		reaper(cmd, pidFile)
	}
	cmd.Cancel = func() error { return killExec(cmd, pidFile) }
	if r.Gvisor {
		cmd.Cancel = func() error { return r.cancelIn(cmd, id, insideFile) }
	}
	first := o.withholdFailure()
	err = run(cmd, o)
	code, err := exitCode(ctx, cmd, log, id, err)
	var failed execError
	if errors.As(err, &failed) {
		err = failed.about(o.Process)
	}
	first.finish(err != nil)
	return code, err
}

// exitCode distinguishes the program's exit code from a failure of the runtime, which
// logs an error.
func exitCode(ctx context.Context, cmd *exec.Cmd, log logFile, id string, err error) (int, error) {
	if ctx.Err() != nil {
		return 0, fmt.Errorf("exec in %s: %w", id, ctx.Err())
	}
	if msg := log.lastError(); msg != "" {
		return 0, execError(msg)
	}
	if cmd.ProcessState == nil {
		return 0, fmt.Errorf("exec in %s: %w", id, err)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 0, fmt.Errorf("exec in %s: %w", id, err)
	}
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal()), nil
	}
	return cmd.ProcessState.ExitCode(), nil
}

// killExec kills the program in the container with its children, and the runtime's
// own process, which only waits for it.
func killExec(cmd *exec.Cmd, pidFile string) error {
	_ = cmd.Process.Signal(unix.SIGSTOP) // keeps it from forking; it is killed below
	programs := childrenOf(cmd.Process.Pid)
	if pid, err := readPID(pidFile); err == nil && !slices.Contains(programs, pid) {
		programs = append(programs, pid)
	}
	left := killsAtMost
	var errs []error
	for _, pid := range programs {
		errs = append(errs, killTree(pid, cmd.Process.Pid, &left))
	}
	return errors.Join(append(errs, cmd.Process.Kill())...)
}

// killsAtMost bounds the number of kills, since a program can fork faster than it is
// killed. The remaining processes end with the task.
const killsAtMost = 1000

// killTree kills a process and its descendants if it is still the child of parent,
// since a PID from a list may have been reused.
func killTree(pid, parent int, left *int) error {
	if *left--; *left < 0 {
		return nil
	}
	p, err := os.FindProcess(pid) // holds a pidfd: /proc now describes this process
	if err != nil {
		return err
	}
	defer func() { _ = p.Release() }()
	if found, err := parentOf(pid); err != nil || found != parent {
		return nil // it has ended
	}
	_ = p.Signal(unix.SIGSTOP) // keeps it from forking; it is killed below
	var errs []error
	for _, child := range childrenOf(pid) {
		errs = append(errs, killTree(child, pid, left))
	}
	if err := p.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// childrenOf lists the children of all threads of a process. Without
// CONFIG_PROC_CHILDREN in the kernel the list is empty.
func childrenOf(pid int) (children []int) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) // the pattern is valid
	for _, file := range files {
		const enough = 64 << 10
		text, _ := bounds.ReadFile(file, enough) // empty for a thread that has ended
		for _, field := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(field); err == nil {
				children = append(children, child)
			}
		}
	}
	return children
}

// parentOf reads field 4 of /proc/PID/stat. Field 2, the command, may contain any
// character, so fields are counted from its last parenthesis.
func parentOf(pid int) (int, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	const parentField = 1
	if len(fields) <= parentField {
		return 0, fmt.Errorf("process %d: stat has %d fields", pid, len(fields))
	}
	return strconv.Atoi(fields[parentField])
}

// outputDelay bounds the wait for output after a command has ended while children hold it open.
const outputDelay = 2 * time.Second

// runOnPipes does not wait for the end of standard input: a reader that never ends must not delay
// the return of a command that has ended.
func runOnPipes(cmd *exec.Cmd, o ExecOptions) error {
	stdout, err := newOutput(o.Stdout)
	if err != nil {
		return err
	}
	stderr, err := newOutput(o.Stderr)
	if err != nil {
		return errors.Join(err, stdout.write.Close())
	}
	cmd.Stdout, cmd.Stderr = stdout.write, stderr.write
	err = own(o.Owner, stdout.write, stderr.write)
	if err == nil {
		err = startWithInput(cmd, o)
	}
	err = errors.Join(err, stdout.write.Close(), stderr.write.Close())
	if err == nil {
		err = cmd.Wait()
	}
	ctx, cancel := context.WithTimeout(context.Background(), outputDelay)
	defer cancel()
	stdout.finish(ctx)
	stderr.finish(ctx)
	return err
}

func own(id uint32, files ...*os.File) error {
	var errs []error
	for _, f := range files {
		if id != 0 {
			errs = append(errs, f.Chown(int(id), int(id)))
		}
	}
	return errors.Join(errs...)
}

// startWithInput starts cmd with stdin, or with an empty pipe if stdin is nil. os/exec would open the
// host's /dev/null instead. Root in the task could change its mode and owner through the
// descriptor, and crun gives it to the task's user.
func startWithInput(cmd *exec.Cmd, o ExecOptions) error {
	stdin := o.Stdin
	if stdin == nil {
		stdin = strings.NewReader("")
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if read, ok := cmd.Stdin.(*os.File); ok {
		if err := own(o.Owner, read); err != nil {
			return err
		}
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { // ends when the caller closes stdin, at the latest
		_, _ = io.Copy(in, stdin) // the command may close its end first
		_ = in.Close()
	}()
	return nil
}
