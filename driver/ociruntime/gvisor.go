package ociruntime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver/bounds"
)

// A gVisor sandbox is one process of the host that runs several containers. The runtime's commands
// ask it to: the first process of a container is none of the host's.

// Annotations by which a runtime-spec says which container of a sandbox it describes.
const (
	GvisorType      = "io.kubernetes.cri.container-type"
	GvisorSandboxID = "io.kubernetes.cri.sandbox-id"
	// GvisorSandbox is the GvisorType of the container that a sandbox is created with, and
	// GvisorContainer of one that is added.
	GvisorSandbox   = "sandbox"
	GvisorContainer = "container"
)

// gvisorArgs are global arguments. The caller limits the sandbox, so runsc sets no cgroups. Overlays
// in memory would hide what one container writes from the others, and from the host.
func gvisorArgs() []string {
	return []string{"--platform=systrap", "--network=sandbox", "--ignore-cgroups", "--overlay2=none",
		"--gofer-network-namespace=new"}
}

// HostNetwork reports whether the sandbox uses the network stack of its network namespace, as the
// operator's arguments demand, and not one of its own.
func (r Runtime) HostNetwork() bool {
	host := false
	for _, a := range r.Args {
		if value, ok := strings.CutPrefix(strings.TrimLeft(a, "-"), "network="); ok {
			host = value == "host"
		}
	}
	return host
}

// gvisorState returns the file in which runsc stores a container, or "" if it does not know it.
func (r Runtime) gvisorState(id string) string {
	files, _ := filepath.Glob(filepath.Join(r.StateDir, id+"_sandbox:*.state")) // an ID is no pattern
	if len(files) == 0 {
		return ""
	}
	return files[0]
}

// forgetGvisor removes the state of a container after the end of its sandbox.
func (r Runtime) forgetGvisor(id string) error {
	files, _ := filepath.Glob(filepath.Join(r.StateDir, id+"_sandbox:*"))
	var errs []error
	for _, f := range files {
		errs = append(errs, os.Remove(f))
	}
	return errors.Join(errs...)
}

// KillAll sends SIGKILL to all processes of a container of a sandbox. It returns nil if none is
// left.
func (r Runtime) KillAll(ctx context.Context, id string) error {
	err := r.run(ctx, "kill", "--all", id, fmt.Sprint(int(unix.SIGKILL)))
	if err != nil && !r.Known(id) {
		return nil
	}
	return err
}

const (
	// releaseFile is a FIFO in a bundle. A container's waiter ends only after a line was written to
	// it, so that its process can be identified.
	releaseFile = "release"
	scriptFile  = "create.sh"
)

// createScript returns a shell script that conmon executes in place of the runtime. It creates and
// starts a container, which gets the script's output, and leaves a process that waits for the
// container and ends with its exit status. The runtime's processes are moved to groups, which are
// files cgroup.procs; the waiting process stays with conmon.
func (r Runtime) createScript(o CreateOptions, log logFile) string {
	runsc := quoted(append([]string{r.Path}, r.globalArgs(log.path)...)...)
	id, bundle := quote(o.ID), quote(o.Bundle)
	groups := quoted(o.Groups...)
	return `enter() (
	self=$(exec sh -c 'echo $PPID')
	for group in ` + groups + `; do echo $self > "$group" || exit; done
	exec "$@"
)
exec 3<>` + bundle + `/` + releaseFile + ` || exit
enter ` + runsc + ` create --bundle ` + bundle + ` ` + id + ` 3>&- || exit
enter ` + runsc + ` start ` + id + ` 3>&- || exit
(
	exec > /dev/null 2>&1
	status=$(` + runsc + ` wait ` + id + ` 3>&-) || exit 137
	status=${status##*:}
	status=${status%%\}*}
	read -r go <&3
	exit $status
) &
echo $! > ` + bundle + `/pid
`
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func quoted(words ...string) string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = quote(w)
	}
	return strings.Join(out, " ")
}

// writeScript writes the script and its FIFO, and returns how to run it.
func (r Runtime) writeScript(o CreateOptions, log logFile) (path string, err error) {
	if err := unix.Mkfifo(filepath.Join(o.Bundle, releaseFile), 0o600); err != nil && !errors.Is(err, unix.EEXIST) {
		return "", &os.PathError{Op: "mkfifo", Path: releaseFile, Err: err}
	}
	path = filepath.Join(o.Bundle, scriptFile)
	return path, os.WriteFile(path, []byte(r.createScript(o, log)), 0o600)
}

// release lets a container's waiter end when the container has ended.
func release(bundle string) error {
	f, err := os.OpenFile(filepath.Join(bundle, releaseFile), os.O_WRONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ENXIO) {
		return nil // it has been killed
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString("\n")
	return errors.Join(err, f.Close())
}

// DialIn connects to a port of the sandbox's loopback interface. dir is a directory for the socket
// of the connection.
func (r Runtime) DialIn(ctx context.Context, id, dir string, port int) (net.Conn, error) {
	dir, err := os.MkdirTemp(dir, "dial-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	// The address is short, whatever the length of the path (unix(7)).
	const name = "s"
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), name), Net: "unix"})
	if err != nil {
		return nil, err
	}
	defer l.Close()
	l.SetUnlinkOnClose(false)
	address := fmt.Sprintf("/proc/%d/fd/%d/%s", os.Getpid(), d.Fd(), name)
	if err := r.run(ctx, "port-forward", "--stream", address, id, strconv.Itoa(port)); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	conn, err := l.Accept()
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	return conn, nil
}

// RunSandbox is RunDetached in groups, which are files cgroup.procs.
func (r Runtime) RunSandbox(ctx context.Context, id, bundle string, groups []string) (int, error) {
	pidFile := filepath.Join(bundle, "pid")
	cmd, log := r.command(ctx, "run", "--detach", "--bundle", bundle, "--pid-file", pidFile, id)
	held := command(ctx, "/bin/sh", append([]string{
		"-c", `for group in ` + quoted(groups...) + `; do echo $$ > "$group" || exit; done; exec "$@"`, "sh",
	}, cmd.Args...)...)
	defer dieWithUs(held)()
	if err := r.finish(held, log, []string{"run", id}); err != nil {
		return 0, err
	}
	return readPID(pidFile)
}

// cancelIn kills a program that was executed in a sandbox, and the command that waits for it.
func (r Runtime) cancelIn(cmd *exec.Cmd, id, pidFile string) error {
	ctx, cancel := context.WithTimeout(context.Background(), waitDelay)
	defer cancel()
	var err error
	if pid, perr := readPID(pidFile); perr == nil {
		err = r.run(ctx, "kill", "--pid", strconv.Itoa(pid), id, fmt.Sprint(int(unix.SIGKILL)))
	}
	return errors.Join(err, cmd.Process.Kill())
}

// gvisorProcesses are the processes that runsc stores for a container.
type gvisorProcesses struct {
	Gofer   int `json:"goferPid"`
	Sandbox struct {
		PID int `json:"pid"`
	} `json:"sandbox"`
}

func (r Runtime) gvisorProcesses(id string) (p gvisorProcesses, err error) {
	b, err := bounds.ReadFile(r.gvisorState(id), maxStateBytes)
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err != nil {
		err = fmt.Errorf("state of container %s: %w", id, err)
	}
	return p, err
}

// sandboxEnded reports whether the process of a container's sandbox has ended.
func (r Runtime) sandboxEnded(id string) bool {
	p, err := r.gvisorProcesses(id)
	if err != nil || p.Sandbox.PID <= 0 {
		return err == nil
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.Sandbox.PID))
	return errors.Is(err, os.ErrNotExist) || err == nil && !strings.HasPrefix(string(line), "runsc-sandbox")
}

// Gofer opens the directory in /proc of the process that serves files to a container.
func (r Runtime) Gofer(id string) (*os.File, error) {
	p, err := r.gvisorProcesses(id)
	if err != nil {
		return nil, err
	}
	dir, err := os.Open(fmt.Sprintf("/proc/%d", p.Gofer))
	if err != nil {
		return nil, err
	}
	if line, err := os.ReadFile(filepath.Join(fmt.Sprintf("/proc/self/fd/%d", dir.Fd()), "cmdline")); err != nil || !strings.HasPrefix(string(line), "runsc-gofer") {
		return nil, errors.Join(fmt.Errorf("process %d is not the gofer of container %s", p.Gofer, id), err, dir.Close())
	}
	return dir, nil
}
