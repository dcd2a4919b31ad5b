// Package sandbox runs a test binary in its own namespaces: mounts, network, processes and
// cgroups. Whatever a Nomad agent creates inside — bridge, iptables rules, network namespaces,
// mounts, daemons, cgroups of a fixed name — cannot collide with the machine's, and nothing
// outlives the test binary: the kernel ends a PID namespace with its first process, and the
// others with their last.
//
// It does not separate cgroups on a machine with only version 2, and it is not a security
// boundary: tests inside are root on the machine's own files.
package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"
)

const (
	// stageEnv names the stage of a re-executed test binary.
	stageEnv = "POD_TEST_SANDBOX"
	// nameEnv names its cgroups.
	nameEnv = "POD_TEST_SANDBOX_NAME"
)

const (
	stageSetup  = "setup"
	stageInside = "inside"
)

// Main runs the tests of m inside a sandbox and returns the exit code. If no sandbox is
// possible, it runs them outside; Require then skips those that need it. Call it from
// TestMain, before anything else.
func Main(m *testing.M) int { return Run(m.Run) }

// Run is Main for programs other than tests: it runs f.
func Run(f func() int) int {
	switch os.Getenv(stageEnv) {
	case stageInside:
		return f()
	case stageSetup:
		err := setup()
		fmt.Fprintln(os.Stderr, "sandbox:", err)
		return 1
	}
	if Unavailable() != "" {
		return f()
	}
	code, err := reexec()
	if err != nil {
		fmt.Fprintln(os.Stderr, "sandbox:", err)
		return 1
	}
	return code
}

// Require skips a test that runs outside of a sandbox, with the reason.
func Require(t testing.TB) {
	t.Helper()
	if os.Getenv(stageEnv) == stageInside {
		return
	}
	if reason := Unavailable(); reason != "" {
		t.Skip(reason)
	}
	t.Fatal("the package's TestMain does not call sandbox.Main")
}

// Unavailable returns the reason why this machine cannot create a sandbox, or "".
func Unavailable() string {
	if os.Geteuid() != 0 {
		return "needs root: makes namespaces, mounts and cgroups"
	}
	for _, program := range []string{"catatonit", "ip"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Sprintf("needs %s: run make deps", program)
		}
	}
	return ""
}

// reexec runs this binary again as the first process of new namespaces, and waits for it. The
// child is killed with its parent.
func reexec() (int, error) {
	// The death signal is bound to the thread that starts the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	undo, err := cniDir()
	if err != nil {
		return 0, err
	}
	defer undo()
	name := fmt.Sprint(CgroupPrefix, os.Getpid())
	groups, err := hierarchies(name)
	if err != nil {
		return 0, err
	}
	removeCgroups, err := makeCgroups(groups)
	if err != nil {
		return 0, err
	}
	code, err := runSetup(name)
	return code, errors.Join(err, removeCgroups())
}

// runSetup starts the setup stage, and returns its exit code.
func runSetup(name string) (int, error) {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), stageEnv+"="+stageSetup, nameEnv+"="+name)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID,
		Pdeathsig:  unix.SIGKILL,
	}
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return exit.ExitCode(), nil
	}
	if err != nil {
		return 0, fmt.Errorf("run tests in namespaces: %w", err)
	}
	return 0, nil
}

const cniState = "/var/lib/cni"

// cniDir creates the mount point for CNI's state if it is missing. The undo removes it again,
// if the tests left it empty.
func cniDir() (undo func(), err error) {
	err = os.Mkdir(cniState, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return func() {}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("mount point for CNI's state: %w", err)
	}
	return func() { _ = os.Remove(cniState) }, nil
}

// setup enters the sandbox's cgroups, sets up the new namespaces and executes a reaper, with the
// tests below it. It returns only on error.
func setup() error {
	// A thread enters a cgroup namespace, and exec on that thread keeps it.
	runtime.LockOSThread()
	groups, err := hierarchies(os.Getenv(nameEnv))
	if err != nil {
		return err
	}
	mounts := []struct {
		source, target, fstype string
		flags                  uintptr
	}{
		// First detach from the machine's mounts, then share with the mount namespaces that tests
		// create in the sandbox.
		{"", "/", "", unix.MS_REC | unix.MS_PRIVATE},
		{"", "/", "", unix.MS_REC | unix.MS_SHARED},
		{"proc", "/proc", "proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		{"run", "/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV},
		{"cni", cniState, "tmpfs", unix.MS_NOSUID | unix.MS_NODEV},
	}
	for _, m := range mounts {
		if err := unix.Mount(m.source, m.target, m.fstype, m.flags, ""); err != nil {
			return fmt.Errorf("mount %s on %s: %w", m.fstype, m.target, err)
		}
	}
	if err := enterCgroups(groups); err != nil {
		return err
	}
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("loopback up: %w: %s", err, out)
	}
	init, err := exec.LookPath("catatonit")
	if err != nil {
		return err
	}
	self, err := filepath.EvalSymlinks("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("find the test binary: %w", err)
	}
	if err := os.Setenv(stageEnv, stageInside); err != nil {
		return err
	}
	argv := append([]string{init, "--", self}, os.Args[1:]...)
	return fmt.Errorf("exec %s: %w", init, unix.Exec(init, argv, os.Environ()))
}

// LetAllEnter lets all users enter the directories above dir: package testing creates them for
// root only.
func LetAllEnter(t testing.TB, dir string) {
	t.Helper()
	for dir = filepath.Dir(dir); dir != os.TempDir(); dir = filepath.Dir(dir) {
		must.NoError(t, os.Chmod(dir, 0o711))
	}
}
