package target_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/procfs"
	"github.com/shoenig/test/must"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/internal/program/programtest"
	"github.com/nomad-sidecar/nomad-sidecar/jobs/sidecars/config-reloader/target"
)

// sendTo has the test binary do nothing but signal the process it names, and
// print how that went.
const sendTo = "TARGET_TEST_SEND_TO"

func TestMain(m *testing.M) {
	if pid := os.Getenv(sendTo); pid != "" {
		fmt.Print(sendAsProgram(pid))
		return
	}
	goleak.VerifyTestMain(m)
}

func sendAsProgram(pid string) error {
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		return err
	}
	number, err := strconv.Atoi(pid)
	if err != nil {
		return err
	}
	p, err := proc.Proc(number)
	if err != nil {
		return err
	}
	stat, err := p.Stat()
	if err != nil {
		return err
	}
	return target.Sender{Proc: proc}.Send(context.Background(), target.Process{PID: number, Start: stat.Starttime, Name: stat.Comm}, unix.SIGTERM)
}

// allocID is this run's own, so that no process of another is found.
func allocID() string { return fmt.Sprintf("0d5fa7c1-26a1-4d3c-9a55-%012x", os.Getpid()) }

// child is a process of a task, by its environment, and what it prints.
type child struct {
	cmd *exec.Cmd
	out *bufio.Reader
	in  io.WriteCloser
}

// shell runs a script that prints a line when it is ready, and goes on when it
// can read one.
func shell(t *testing.T, task, script string) child {
	t.Helper()
	programtest.DefaultSignal(t, unix.SIGHUP)
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.Env = []string{"NOMAD_TASK_NAME=" + task, "NOMAD_ALLOC_ID=" + allocID(), "PATH=" + os.Getenv("PATH")}
	out, err := cmd.StdoutPipe()
	must.NoError(t, err)
	in, err := cmd.StdinPipe()
	must.NoError(t, err)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	must.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // and the command that it runs
		_ = cmd.Wait()
	})
	c := child{cmd, bufio.NewReader(out), in}
	must.Eq(t, "ready\n", c.line(t))
	return c
}

func (c child) line(t *testing.T) string {
	t.Helper()
	line, err := c.out.ReadString('\n')
	must.NoError(t, err)
	return line
}

func sender(t *testing.T, patience time.Duration) target.Sender {
	t.Helper()
	proc, err := procfs.NewDefaultFS()
	must.NoError(t, err)
	return target.Sender{Proc: proc, Patience: patience}
}

func find(t *testing.T, task string) target.Process {
	t.Helper()
	found, err := target.Target{Task: task, AllocID: allocID()}.Find(sender(t, 0).Proc)
	must.NoError(t, err)
	must.SliceLen(t, 1, found)
	return found[0]
}

const handlesHUP = `trap 'echo reloaded' HUP; echo ready; while read line; do :; done; while :; do sleep 1; done`

func TestSendReachesTheTaskAlone(t *testing.T) {
	app := shell(t, "app", handlesHUP)
	other := shell(t, "other", "echo ready; read line; echo alive")
	p := find(t, "app")
	must.Eq(t, app.cmd.Process.Pid, p.PID)
	must.NoError(t, sender(t, time.Minute).Send(t.Context(), p, unix.SIGHUP))
	must.NoError(t, app.in.Close()) // the shell looks at signals between commands
	must.Eq(t, "reloaded\n", app.line(t))
	must.NoError(t, other.in.Close())
	must.Eq(t, "alive\n", other.line(t))
}

func TestSendWaitsForAHandler(t *testing.T) {
	app := shell(t, "late", `echo ready; read line; trap 'echo reloaded' HUP; while :; do sleep 0.01; done`)
	sent := make(chan error, 1)
	p := find(t, "late")
	go func() { sent <- sender(t, time.Minute).Send(t.Context(), p, unix.SIGHUP) }()
	_, err := io.WriteString(app.in, "go\n")
	must.NoError(t, err)
	must.NoError(t, <-sent)
	must.Eq(t, "reloaded\n", app.line(t))
}

func TestSendDoesNotEndWhatDoesNotKnowTheSignal(t *testing.T) {
	app := shell(t, "deaf", "echo ready; read line; echo alive")
	err := sender(t, time.Millisecond).Send(t.Context(), find(t, "deaf"), unix.SIGHUP)
	must.ErrorContains(t, err, "does not handle SIGHUP, which would end it")
	must.NoError(t, app.in.Close())
	must.Eq(t, "alive\n", app.line(t))
}

func TestSendEndsWhatItIsToldToEnd(t *testing.T) {
	app := shell(t, "ending", "echo ready; read line")
	must.NoError(t, sender(t, time.Minute).Send(t.Context(), find(t, "ending"), unix.SIGTERM))
	must.ErrorContains(t, app.cmd.Wait(), "terminated")
}

// A process of another user needs more than good will.
func TestSendSaysWhoItWouldHaveToBe(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to be somebody else")
	}
	app := shell(t, "roots", "echo ready; read line; echo alive")
	cmd := exec.Command(os.Args[0])
	cmd.Env = []string{sendTo + "=" + strconv.Itoa(app.cmd.Process.Pid)}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	cmd.Dir = "/"
	// The test binary may be where only root can execute it.
	program, err := os.Open(os.Args[0])
	must.NoError(t, err)
	defer program.Close()
	cmd.Path, cmd.ExtraFiles = "/proc/self/fd/3", []*os.File{program}
	out, err := cmd.CombinedOutput()
	must.NoError(t, err)
	must.StrContains(t, string(out), fmt.Sprintf("no permission to signal process %d (sh) of user 0: run this sidecar as that user, or as root", app.cmd.Process.Pid))
	must.NoError(t, app.in.Close())
	must.Eq(t, "alive\n", app.line(t))
}

// A PID that was given to another process is not the one that was found.
func TestSendKnowsTheProcessByItsStart(t *testing.T) {
	app := shell(t, "reused", "echo ready; read line; echo alive")
	p := find(t, "reused")
	p.Start--
	must.NoError(t, sender(t, time.Minute).Send(t.Context(), p, unix.SIGTERM))
	must.NoError(t, app.in.Close())
	must.Eq(t, "alive\n", app.line(t))
}

func TestSendToOneThatHasEnded(t *testing.T) {
	app := shell(t, "ended", "echo ready; read line")
	p := find(t, "ended")
	must.NoError(t, app.in.Close())
	_ = app.cmd.Wait() // read has failed, and so has the shell
	must.NoError(t, sender(t, time.Minute).Send(t.Context(), p, unix.SIGHUP))
}
