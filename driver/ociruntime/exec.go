package ociruntime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ExecOptions say what to run in a container that runs already.
type ExecOptions struct {
	// Process is the program, with its environment, user and limits.
	// Process.Terminal gives it a terminal.
	Process *specs.Process
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer // unused with a terminal: there is one stream only
	// Resize brings the terminal's size whenever it changes. It may be nil.
	Resize <-chan Size
	// Dir is an existing directory for files that live as long as the call.
	Dir string
}

// Size of a terminal in characters.
type Size struct{ Rows, Columns uint16 }

// Exec runs a program in a container and returns its exit code: 128 and the
// number of the signal where one ended it. A program that could not be
// started is an error. When ctx ends the program is killed.
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
	run := runOnPipes
	if o.Process.Terminal {
		term, err := r.newTerminal(dir)
		if err != nil {
			return 0, fmt.Errorf("exec in %s: %w", id, err)
		}
		defer term.close()
		args = append(append(args, "--tty"), term.args()...)
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
	err = run(cmd, o)
	return exitCode(ctx, cmd, log, id, err)
}

// exitCode tells the end of the program from a failure of the runtime, which
// has logged an error then.
func exitCode(ctx context.Context, cmd *exec.Cmd, log logFile, id string, err error) (int, error) {
	if ctx.Err() != nil {
		return 0, fmt.Errorf("exec in %s: %w", id, ctx.Err())
	}
	if msg := log.lastError(); msg != "" {
		return 0, execFailure(msg)
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

// execFailure classifies what a runtime logged about a command that did not start.
func execFailure(msg string) error {
	text := strings.ToLower(msg)
	for _, c := range []struct {
		words string
		kind  error
	}{
		{"executable file not found", ErrNoProgram}, {"not found in $path", ErrNoProgram},
		{"no such file or directory", ErrNoProgram},
		{"permission denied", ErrNotExecutable}, {"exec format error", ErrNotExecutable},
		{"is a directory", ErrNotExecutable}, {"open executable", ErrNotExecutable},
	} {
		if strings.Contains(text, c.words) {
			return fmt.Errorf("%w: %s", c.kind, msg)
		}
	}
	return errors.New(msg)
}

// killExec kills the program in the container, which the runtime's own
// process only waits for, and then that one.
func killExec(cmd *exec.Cmd, pidFile string) error {
	var inner error
	if pid, err := readPID(pidFile); err == nil {
		inner = unix.Kill(pid, unix.SIGKILL)
	}
	if errors.Is(inner, unix.ESRCH) {
		inner = nil
	}
	return errors.Join(inner, cmd.Process.Kill())
}

// outputDelay is how long output is awaited after a command has ended, while children hold it open.
const outputDelay = 2 * time.Second

// runOnPipes does not wait for the end of standard input: a reader that never ends must not keep a
// command that has ended.
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
	err = startWithInput(cmd, o.Stdin)
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

func startWithInput(cmd *exec.Cmd, stdin io.Reader) error {
	if stdin == nil {
		return cmd.Start()
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
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
