package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// process is a child process with a goroutine that waits for it. A nil process was never
// started, and counts as ended.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed when cmd has been waited for
}

// startProcess starts a command and appends its output to a log file.
func startProcess(argv, env []string, logFile string) (*process, error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()

	p := &process{cmd: exec.Command(argv[0], argv[1:]...), exited: make(chan struct{})}
	p.cmd.Env = env
	p.cmd.Stdout, p.cmd.Stderr = log, log
	// Use a separate process group: an interrupt at the terminal is for this process, which
	// still needs Nomad to stop its jobs.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	go func() {
		defer close(p.exited)
		// Its log has the exit status; only the end matters here.
		_ = p.cmd.Wait()
	}()
	return p, nil
}

func (p *process) running() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// end sends a signal and waits for the process to exit. If it has already exited, end returns nil.
func (p *process) end(ctx context.Context, sig syscall.Signal) error {
	if !p.running() {
		return nil
	}
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s: %w", p.cmd.Path, err)
	}
	select {
	case <-p.exited:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the end of %s after %v: %w", p.cmd.Path, sig, ctx.Err())
	}
}

// stop ends a process gracefully if possible.
func (p *process) stop(ctx context.Context) error {
	orderly, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	err := p.end(orderly, syscall.SIGINT)
	if err == nil {
		return nil
	}
	// SIGKILL takes effect immediately, and must be sent even if ctx has ended.
	return errors.Join(err, p.end(context.WithoutCancel(ctx), syscall.SIGKILL))
}
