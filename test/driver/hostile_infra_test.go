package driver_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
	"github.com/nomad-sidecar/nomad-sidecar/driver/cgroup"
)

// Attacks of a task on the infra process, PID 1 of a shared PID namespace.

// takeOver traces PID 1, replaces its code by a loop around pause, and makes it fork 500 times. It
// writes the result to a file.
const takeOver = `sub ptrace { syscall(101, $_[0], 1, $_[1], $_[2]) }
sub done { open F, ">/alloc/data/result.new"; print F @_; close F; rename "/alloc/data/result.new", "/alloc/data/result"; sleep 600 }
if (@ARGV) { $( = $ARGV[0]; $) = "$ARGV[0] $ARGV[0]"; ($<, $>) = ($ARGV[0]) x 2; done("setuid: $!") if $< != $ARGV[0] }
ptrace(16, 0, 0) == 0 or done("denied: $!");
waitpid 1, 0x40000000;
sub regs { my $b = "\0" x 216; ptrace(12, 0, $b); unpack "q27", $b }
sub set { my $b = pack "q27", @_; ptrace(13, 0, $b) }
@r = regs(); $rip = $r[16];
$code = "\xb8\x22\0\0\0\x0f\x05\xeb\xf7" . "\x90" x 7;
for (0, 1) { ptrace(4, $rip + 8 * $_, unpack "q", substr $code, 8 * $_, 8) }
for (1..500) {
	@f = @r; $f[10] = 57; $f[15] = -1; $f[16] = $rip - 2; set(@f); ptrace(9, 0, 0); waitpid 1, 0x40000000;
	@f = regs(); $f[10] > 0 ? $forks++ : ($error = -$f[10]) }
done("forked: " . ($forks + 0) . " error: $error");`

// TestInfraProcess_TakenOver checks that a task cannot control the infra process as its own user,
// as root or as the infra process's user, and gains nothing from it even if it may trace
// processes.
func TestInfraProcess_TakenOver(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the attack is written for amd64")
	}
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) {
			c.Runtime, c.AllowCaps = runtime, []string{"setuid", "setgid", "sys_ptrace"}
		})
		for _, tc := range []struct {
			user string
			caps []string
			args []string
			want string
		}{
			{user: "nobody", want: "denied: Operation not permitted"},
			{user: "root", want: "denied: Operation not permitted"},
			{user: "root", args: []string{"2147483647"}, want: "denied: Operation not permitted"},
			{user: "root", caps: []string{"sys_ptrace"}, want: "forked: 0 error: 1"},
		} {
			config := driver.TaskConfig{Command: "/usr/bin/perl", Args: append([]string{"-e", takeOver}, tc.args...), Share: []string{"pid"}, CapAdd: tc.caps}
			tk := n.newTask("", "hostile", config, func(c *drivers.TaskConfig) { quiet(c); c.User = tc.user })
			_, _, err := n.StartTask(tk.TaskConfig)
			must.NoError(t, err)
			var result string
			n.waitFor("the attack", func() bool {
				b, err := os.ReadFile(filepath.Join(tk.TaskDir().SharedAllocDir, "data/result"))
				result = string(b)
				return err == nil
			})
			v, err := cgroup.Detect()
			must.NoError(t, err)
			pids, err := cgroup.At(v, "/nomad-driver-pod/"+tk.AllocID+"/holder").Procs()
			must.NoError(t, err)
			t.Logf("%s %v %v: %s; %d processes in the infra process's cgroup", tc.user, tc.caps, tc.args, result, len(pids))
			must.StrHasPrefix(t, tc.want, result)
			must.SliceLen(t, 1, pids)
			must.NoError(t, n.DestroyTask(tk.ID, true))
		}
	})
}

// TestInfraProcess_Signals checks that root in a task can neither stop nor kill the infra process,
// which still reaps afterwards. SIGTERM ends it: root can end every process of its pod.
func TestInfraProcess_Signals(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		config := sh("exec sleep 600")
		config.Share = []string{"pid"}
		tk := n.newTask("", "killer", config, quietRoot)
		tk.start()
		tk.exec("kill -KILL 1; kill -STOP 1; kill -HUP 1; kill -USR1 1; (sleep 0 &)")
		n.waitFor("the orphan to be reaped", func() bool { return strings.TrimSpace(tk.exec("ps -eo stat | grep -c Z || true")) == "0" })
		must.Eq(t, "catatonit\n", tk.exec("cat /proc/1/comm"))
		must.StrContains(t, tk.exec("grep Seccomp: /proc/1/status; grep NoNewPrivs /proc/1/status; grep Cap /proc/1/status"), "Seccomp:\t2\nNoNewPrivs:\t1")
	})
}
