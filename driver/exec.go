package driver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/nomad-sidecar/nomad-sidecar/driver/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/driver/ociruntime"
	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
)

// ExecTask runs a command in a task for script checks and change_script. It returns
// the last bytes of each output.
func (d *Driver) ExecTask(taskID string, cmd []string, timeout time.Duration) (_ *drivers.ExecTaskResult, err error) {
	defer shorten(&err)
	c, err := d.container(taskID)
	if err != nil {
		return nil, err
	}
	if len(cmd) == 0 {
		return nil, fmt.Errorf("exec in task %s: there is no command", taskID)
	}
	ctx, cancel := context.WithTimeout(d.ctx, timeout)
	defer cancel()
	var stdout, stderr bounds.Ring
	code, err := c.Exec(ctx, cmd, ociruntime.ExecOptions{Stdout: &stdout, Stderr: &stderr})
	if err != nil && ctx.Err() != nil {
		return nil, err
	}
	if err != nil {
		// Some callers, such as change_script, ignore an error.
		code = failureCode(err)
		_, _ = stderr.Write(failureText(err))
	}
	return &drivers.ExecTaskResult{
		Stdout: stdout.Bytes(), Stderr: stderr.Bytes(),
		ExitResult: &drivers.ExitResult{ExitCode: code},
	}, nil
}

// ExecTaskStreamingRaw runs a command in a task with its input and output
// connected to the caller, with or without a terminal. The last message has
// the exit code.
func (d *Driver) ExecTaskStreamingRaw(ctx context.Context, taskID string, command []string, tty bool, stream drivers.ExecTaskStream) (err error) {
	defer shorten(&err)
	c, err := d.container(taskID)
	if err != nil {
		return err
	}
	if len(command) == 0 {
		return fmt.Errorf("exec in task %s: there is no command", taskID)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn := newExecConn(stream)
	go conn.receive(ctx, cancel) // ends with the stream, which is the caller's
	defer conn.stdin.Close()     // unblocks readers of the input
	code, err := d.run(ctx, c, command, ociruntime.ExecOptions{
		Process: &specs.Process{Terminal: tty},
		Stdin:   conn.stdin, Stdout: conn.writer(stdoutOf), Stderr: conn.writer(stderrOf),
		Resize: conn.sizes,
	})
	if err != nil && ctx.Err() != nil {
		return err
	}
	if err != nil {
		// A WebSocket close frame would truncate the text to 123 bytes.
		code = failureCode(err)
		_, _ = conn.writer(stderrOf).Write(failureText(err))
	}
	err = conn.finish(code)
	conn.linger(quietInput, lingerLimit)
	return err
}

// Exit codes of a command that did not run, as in shells and docker.
const (
	codeNotStarted    = 125
	codeNotExecutable = 126
	codeNotFound      = 127
)

func failureCode(err error) int {
	switch {
	case errors.Is(err, ociruntime.ErrNoProgram):
		return codeNotFound
	case errors.Is(err, ociruntime.ErrNotExecutable):
		return codeNotExecutable
	}
	return codeNotStarted
}

// failureText formats an error for the command's standard error.
func failureText(err error) []byte {
	shorten(&err)
	return fmt.Appendf(nil, "exec failed: %v\n", err)
}

// run runs a program in a task or in a debug container.
func (d *Driver) run(ctx context.Context, c *pod.Container, command []string, o ociruntime.ExecOptions) (int, error) {
	if command[0] != debugWord {
		return c.Exec(ctx, command, o)
	}
	d.mu.Lock()
	s := d.settings
	d.mu.Unlock()
	debug, err := s.parseDebug(command[1:])
	if err != nil {
		return 0, err
	}
	return c.Debug(ctx, debug, o)
}
