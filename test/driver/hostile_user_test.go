package driver_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"
)

// Attacks by an unprivileged user of the client, outside of any pod.

// freshUser is a UID without processes and files on the client.
const freshUser = 54321

// TestLocalUser_Attacks checks that a local user can control no process of a pod and no helper, and
// reaches no path or socket of the driver.
func TestLocalUser_Attacks(t *testing.T) {
	program := hostileProgram(t)
	reachable(t)
	must.NoError(t, os.Chmod(filepath.Dir(program), 0o755))
	withRuntimes(t, func(t *testing.T, runtime string) {
		reachable(t)
		b := newAttackTargets(t, runtime, program, "")
		b.pod(cell{sharePID: true})
		report := written(t, filepath.Join(t.TempDir(), "report"), "")
		must.NoError(t, errors.Join(os.Chmod(report, 0o666), os.Chmod(filepath.Dir(report), 0o755)))
		cmd := exec.Command(program, "-report", report, "-host-paths", strings.Join([]string{
			b.config.RunDir, b.config.DataDir, b.config.RunDir + "/pods", b.config.DataDir + "/roots", "/etc/shadow",
		}, ","), "-groups", "process/,host/paths,host/core_pattern,cgroup/,device/,network/abstract_sockets,network/path_sockets")
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: freshUser, Gid: freshUser}}
		out, err := cmd.CombinedOutput()
		must.NoError(t, err, must.Sprint(string(out)))
		results := readReport(t, report)
		must.Greater(t, 50, len(results))
		for _, r := range results {
			mayBeAbsent := strings.HasSuffix(r.Attempt, "/same_user") || strings.HasPrefix(r.Attempt, "network/")
			if r.Verdict != denied && (r.Verdict != absent || !mayBeAbsent) {
				t.Errorf("%s: %s (%s)", r.Attempt, r.Verdict, r.Detail)
			}
		}
		t.Logf("adversary: %s: local user: %d attempts", filepath.Base(runtime), len(results))
		b.other.checkUnharmed()
	})
}

// TestLocalUser_ReplacesDirectories checks that files that a local user puts in place of a task's
// directories do not redirect a mount or block a start.
func TestLocalUser_ReplacesDirectories(t *testing.T) {
	victim := t.TempDir()
	must.NoError(t, os.Chmod(victim, 0o755))
	written(t, filepath.Join(victim, "file"), "secret")
	withOneRuntime(t, func(t *testing.T, runtime string) {
		reachable(t)
		n := collecting(t, runtime)
		other := n.startBystander()
		for _, plant := range []string{"ln -s " + victim, "mkfifo", "touch", "ln -s /proc/1/root", "ln -s ../../../.."} {
			tk := n.newTask("", "victim", sh("cat /local/file /secrets/file /alloc/file"), func(c *drivers.TaskConfig) { withoutCollector(c); c.User = "root" })
			restore := tk.replaceDirs(plant)
			if _, _, err := n.StartTask(tk.TaskConfig); err == nil {
				tk.wait()
				must.StrNotContains(t, tk.logged("stdout"), "secret", must.Sprint(plant))
				must.NoError(t, n.DestroyTask(tk.ID, true))
			}
			restore()
			other.checkUnharmed()
		}
	})
}

// replaceDirs lets the local user replace each task directory that it may move by a file.
func (tk *task) replaceDirs(plant string) (restore func()) {
	t := tk.n.t
	t.Helper()
	entries, err := os.ReadDir(tk.TaskDir().Dir)
	must.NoError(t, err)
	var moved []string
	for _, e := range entries {
		path := filepath.Join(tk.TaskDir().Dir, e.Name())
		if _, err := asLocalUser(fmt.Sprintf("mv %[1]s %[1]s.was && %[2]s %[1]s", path, plant)); err == nil {
			moved = append(moved, path)
		}
	}
	must.SliceNotEmpty(t, moved, must.Sprint("the user replaced no directory"))
	return func() {
		for _, path := range moved {
			must.NoError(t, errors.Join(os.Remove(path), os.Rename(path+".was", path)))
		}
	}
}
