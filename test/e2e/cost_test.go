package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/prometheus/procfs"
	"github.com/shoenig/test/must"
)

// TestStart_SystemCalls counts the executed programs and system calls of a start, in the plugin and
// its children, with a tolerance of a third. Unlike times, they do not depend on the machine.
func TestStart_SystemCalls(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("needs strace: run make deps")
	}
	for runtime, want := range map[string]struct{ executed, calls int }{
		// conmon, the runtime for create and for start, and the task. runc executes itself twice
		// more for the first process of the container.
		"crun": {executed: 4, calls: 2400},
		"runc": {executed: 6, calls: 3900},
	} {
		exclusively(t, []string{runtime}, func(c *cluster) {
			c.run(oneTask(c.t, "first"), api.AllocClientStatusRunning)
			// On a busy machine a start takes longer and makes more calls. Use the lowest of
			// three counts.
			least := 0
			for _, name := range []string{"second", "third", "fourth"} {
				total, executed := c.countStartCalls(strace, name)
				must.Eq(c.t, want.executed, executed)
				if least == 0 || total < least {
					least = total
				}
				if least <= want.calls {
					break
				}
			}
			must.LessEq(c.t, want.calls, least)
		})
	}
}

// countStartCalls starts a job and returns the number of its system calls, except for the time
// dependent ones, and of executed programs.
func (c *cluster) countStartCalls(strace, job string) (total, executed int) {
	c.t.Helper()
	stop := c.countCalls(strace)
	c.run(oneTask(c.t, job), api.AllocClientStatusRunning)
	calls := stop()
	for name, n := range calls {
		if !timeDependentCalls.MatchString(name) {
			total += n
		}
	}
	executed = calls["execve"] + calls["execveat"]
	c.t.Logf("%s: %d system calls, %d programs executed", job, total, executed)
	return total, executed
}

// timeDependentCalls matches system calls whose number grows with the duration of a start: calls of
// Go's runtime, of connections, and of polling.
var timeDependentCalls = regexp.MustCompile(`^(read|write|pread64|futex|nanosleep|clock_nanosleep|epoll_.*|p?poll|p?select6?|sched_yield|madvise|rt_sig.*|sigaltstack|gettid|tgkill|wait4|waitid|restart_syscall)$`)

func oneTask(t *testing.T, name string) string {
	t.Helper()
	hcl := testdata(t, "pods.nomad.hcl", "COUNT", "1", "TASKS", idleTasks(1))
	return strings.Replace(hcl, `job "pods"`, fmt.Sprintf("job %q", name), 1)
}

// countCalls counts the system calls of the plugin and its children by name, until stop is called.
func (c *cluster) countCalls(strace string) (stop func() map[string]int) {
	c.t.Helper()
	plugins, err := c.PluginPIDs()
	must.NoError(c.t, err)
	must.SliceNotEmpty(c.t, plugins)
	out := filepath.Join(c.t.TempDir(), "calls")
	args := []string{"--follow-forks", "--summary-only", "--summary-columns=calls,name", "--output=" + out}
	for _, pid := range plugins {
		args = append(args, "--attach="+strconv.Itoa(pid))
	}
	cmd := exec.Command(strace, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	must.NoError(c.t, cmd.Start())
	c.eventually("strace attaches to the plugin", func() error {
		for _, pid := range plugins {
			if err := checkTraced(pid); err != nil {
				return err
			}
		}
		return nil
	})
	return func() map[string]int {
		c.t.Helper()
		must.NoError(c.t, cmd.Process.Signal(syscall.SIGINT))
		_ = cmd.Wait() // strace exits by the signal
		calls, err := os.ReadFile(out)
		must.NoError(c.t, err, must.Sprint(stderr.String()))
		return parseCalls(c.t, calls)
	}
}

// checkTraced returns an error if a thread of a process is not traced.
func checkTraced(pid int) error {
	threads, err := procfs.AllThreads(pid)
	if err != nil {
		return err
	}
	for _, thread := range threads {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/status", pid, thread.PID))
		if err == nil && bytes.Contains(status, []byte("\nTracerPid:\t0\n")) {
			return fmt.Errorf("thread %d of %d is not traced", thread.PID, pid)
		}
	}
	return nil
}

func parseCalls(t *testing.T, table []byte) map[string]int {
	t.Helper()
	calls := map[string]int{}
	lines := bufio.NewScanner(bytes.NewReader(table))
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) != 2 || words[1] == "total" {
			continue
		}
		if n, err := strconv.Atoi(words[0]); err == nil {
			calls[words[1]] = n
		}
	}
	must.NoError(t, lines.Err())
	must.MapNotEmpty(t, calls)
	return calls
}
