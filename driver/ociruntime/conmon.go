package ociruntime

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nomad-sidecar/nomad-sidecar/driver/bounds"
)

// Monitor is conmon, the process that monitors a container: it is the parent of the
// container's first process, and writes its exit status to a file even if the plugin
// and the agent have ended.
type Monitor struct {
	// Path is the absolute path of the conmon command.
	Path string
	// Before is called before each checkpoint of Create. An error fails it. It may be
	// nil.
	Before func(checkpoint string) error
}

func (m Monitor) before(checkpoint string) error {
	if m.Before == nil {
		return nil
	}
	return m.Before(checkpoint)
}

// Version returns the version that the command prints.
func (m Monitor) Version(ctx context.Context) (string, error) { return version(ctx, m.Path) }

// CreateOptions describe a container and its monitor.
type CreateOptions struct {
	ID string
	// Bundle is the directory with config.json. The monitor writes there too.
	Bundle string
	// Stdout and Stderr become the container's own, without a copy between.
	Stdout, Stderr *os.File
	// Groups are the files cgroup.procs of the groups for the runtime's processes of a container in
	// a sandbox.
	Groups []string
	// Place is called with the monitor's PID before the monitor does anything, so that
	// it can be moved to a cgroup. It may be nil.
	Place func(pid int) error
}

// Pair is a container's first process and its monitor.
type Pair struct{ InitPID, MonitorPID int }

// Create starts a monitor, which makes the runtime create a container. The program in
// the container is not started. After an error neither is left.
func (m Monitor) Create(ctx context.Context, r Runtime, o CreateOptions) (Pair, error) {
	log := logFile{filepath.Join(o.Bundle, "runtime.log")}
	pair, err := m.create(ctx, r, o, log)
	if err == nil {
		return pair, nil
	}
	err = log.explain(fmt.Sprintf("%s create %s", r.Name(), o.ID), err)
	return Pair{}, errors.Join(err, r.Delete(context.WithoutCancel(ctx), o.ID))
}

func (m Monitor) create(ctx context.Context, r Runtime, o CreateOptions, log logFile) (Pair, error) {
	syncR, syncW, err := os.Pipe()
	if err != nil {
		return Pair{}, err
	}
	defer syncR.Close()
	startR, startW, err := os.Pipe()
	if err != nil {
		return Pair{}, errors.Join(err, syncW.Close())
	}
	defer startW.Close()

	args, err := m.args(r, o, log)
	if err != nil {
		return Pair{}, errors.Join(err, syncW.Close(), startR.Close())
	}
	// Not bound to ctx: it detaches itself and outlives this process.
	cmd := command(context.WithoutCancel(ctx), m.Path, args...)
	cmd.Env = []string{"_OCI_SYNCPIPE=3", "_OCI_STARTPIPE=4"}
	cmd.Dir = o.Bundle // conmon writes its "oom" file to the working directory
	cmd.ExtraFiles = []*os.File{syncW, startR}
	cmd.Stdout, cmd.Stderr = o.Stdout, o.Stderr
	// Conmon treats the end of the start pipe as its start signal. The process started
	// here dies with this process, so that it does not continue unplaced; the monitor
	// that it forks does not.
	defer dieWithUs(cmd)()
	err = m.before("start monitor")
	if err == nil {
		err = cmd.Start()
	}
	closed := errors.Join(syncW.Close(), startR.Close())
	if err != nil {
		return Pair{}, err
	}
	if o.Place != nil {
		err = o.Place(cmd.Process.Pid)
	}
	if err = errors.Join(closed, err, m.before("release monitor")); err != nil {
		_ = cmd.Process.Kill() // it waits for the start pipe; the error explains why
		_ = cmd.Wait()
		return Pair{}, err
	}
	_, werr := startW.Write([]byte{0})
	// The process started here forks the monitor and exits, if all is well.
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	err = errors.Join(werr, cmd.Wait(), m.before("await container"))
	if err != nil && ctx.Err() != nil {
		return Pair{}, fmt.Errorf("waiting for conmon: %w", ctx.Err())
	}
	if err != nil {
		return Pair{}, fmt.Errorf("conmon: %w", err)
	}
	return awaitCreate(ctx, syncR, o.Bundle)
}

// maxWords bounds in bytes how much of conmon's report and the runtime's log is read.
// Errors are shorter: see bounds.Text.
const maxWords = 64 << 10

// awaitCreate reads conmon's report: {"data": PID}, or a negative number and
// optionally a message if the runtime failed.
func awaitCreate(ctx context.Context, sync *os.File, bundle string) (Pair, error) {
	monitor, err := readPID(filepath.Join(bundle, "conmon.pid"))
	if err != nil {
		return Pair{}, fmt.Errorf("conmon: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = sync.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	line, err := bufio.NewReader(io.LimitReader(sync, maxWords)).ReadBytes('\n')
	if ctx.Err() != nil {
		return Pair{}, fmt.Errorf("waiting for conmon: %w", ctx.Err())
	}
	if err != nil && len(line) == 0 {
		return Pair{}, fmt.Errorf("%w: %w", errNoReport, err)
	}
	init, err := parseReport(line)
	return Pair{InitPID: init, MonitorPID: monitor}, err
}

// parseReport returns the PID of a container's first process.
func parseReport(line []byte) (pid int, err error) {
	var report struct {
		Data    int    `json:"data"`
		Message string `json:"message"`
	}
	if err := json.Unmarshal(line, &report); err != nil {
		return 0, fmt.Errorf("conmon reported %q: %w", bounds.Text(string(line)), err)
	}
	if report.Data <= 0 {
		return 0, fmt.Errorf("conmon reported exit status %d %s", -report.Data, bounds.Text(report.Message))
	}
	return report.Data, nil
}

func (m Monitor) args(r Runtime, o CreateOptions, log logFile) ([]string, error) {
	program, global := r.program(), r.globalArgs(log.path)
	if r.Gvisor {
		script, err := r.writeScript(o, log)
		if err != nil {
			return nil, err
		}
		program, global = "/bin/sh", []string{script}
	}
	args := []string{
		"--api-version", "1", "--cid", o.ID, "--cuuid", o.ID, "--name", o.ID,
		"--runtime", program, "--bundle", o.Bundle,
		"--container-pidfile", filepath.Join(o.Bundle, "pid"),
		"--conmon-pidfile", filepath.Join(o.Bundle, "conmon.pid"),
		"--exit-dir", o.Bundle, "--persist-dir", o.Bundle,
		"--log-path", "passthrough", "--log-level", "warning",
	}
	for _, a := range global {
		args = append(args, "--runtime-arg", a)
	}
	return args, nil
}

// MonitorPID returns the PID of the monitor of a bundle's container; the error is
// os.ErrNotExist if none was started.
func MonitorPID(bundle string) (int, error) { return readPID(filepath.Join(bundle, "conmon.pid")) }

// InitPID returns the PID of the first process of a bundle's container.
func InitPID(bundle string) (int, error) { return readPID(filepath.Join(bundle, "pid")) }

// ExitStatus returns the exit status that conmon recorded for a bundle's container:
// the exit code, or 128 plus the signal number. The error is ErrNoExit if nothing was
// recorded.
func ExitStatus(bundle string) (int, time.Time, error) {
	path := filepath.Join(bundle, "exit")
	b, err := bounds.ReadFile(path, maxNumberBytes)
	if errors.Is(err, os.ErrNotExist) {
		return 0, time.Time{}, ErrNoExit
	}
	if err != nil {
		return 0, time.Time{}, fmt.Errorf("exit status: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return 0, time.Time{}, fmt.Errorf("exit status: %w", err)
	}
	code, err := ParseExit(b)
	if err != nil {
		return 0, time.Time{}, fmt.Errorf("%s: %w", path, err)
	}
	return code, info.ModTime(), nil
}

// ParseExit parses the content of an exit file: a decimal number from 0 to 255.
func ParseExit(b []byte) (int, error) {
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 8)
	if err != nil {
		return 0, fmt.Errorf("exit status %q is not a number from 0 to 255", b)
	}
	return int(n), nil
}

// maxNumberBytes bounds a file that holds one number.
const maxNumberBytes = 64

func readPID(path string) (int, error) {
	b, err := bounds.ReadFile(path, maxNumberBytes)
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid <= 0 {
		return 0, fmt.Errorf("%s: %q is not a process id", path, b)
	}
	return pid, nil
}
