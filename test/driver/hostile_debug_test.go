package driver_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/hashicorp/nomad/drivers/shared/capabilities"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
)

// TestDebugContainer_Attacks checks that a debug container reaches its task's processes and nothing
// else on the client.
func TestDebugContainer_Attacks(t *testing.T) {
	program := hostileProgram(t)
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) {
			c.Runtime, c.DebugContainers = runtime, true
			c.AllowCaps = capabilities.NomadDefaults().Slice(false)
			c.AllowCaps = append(c.AllowCaps, "sys_ptrace") // the debug container then runs as root
		})
		other := n.startBystander()
		tk := n.newTask("", "app", sh(waitScript), nil)
		text, err := os.ReadFile(program)
		must.NoError(t, err)
		must.NoError(t, os.WriteFile(filepath.Join(tk.TaskDir().LocalDir, "hostiletask"), text, 0o755))
		tk.start()
		tk.output("stdout", contains("up"))
		out, err := tk.debugExec("/bin/sh", "-c", "cp $POD_TASK_ROOT/local/hostiletask /tmp/attack && exec /tmp/attack -report $POD_TASK_ROOT/alloc/data/report -host-paths "+
			n.config.RunDir+"/pods,"+n.config.DataDir+"/roots,/etc/shadow -groups namespace/,mount/,kernel/,privilege/,limit/,host/,proc/,sys/,cgroup/,device/,network/")
		must.NoError(t, err, must.Sprint(out))
		results := readReport(t, filepath.Join(tk.TaskDir().SharedAllocDir, "data/report"))
		must.Greater(t, 80, len(results))
		for _, r := range results {
			if expected := (cell{user: "0"}).expected(r.Attempt); !slices.Contains(expected, r.Verdict) {
				t.Errorf("%s: %s (%s), want %v", r.Attempt, r.Verdict, r.Detail, expected)
			}
		}
		t.Logf("adversary: %s: debug container: %d attempts", filepath.Base(runtime), len(results))
		other.checkUnharmed()
	})
}
