package driver_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
)

// bystander is a task that must not be affected by events in other pods. It prints a counter.
type bystander struct {
	*task
	pid string
}

// startBystander starts a bystander.
func (n *node) startBystander() *bystander {
	n.t.Helper()
	b := &bystander{task: n.newTask("", "bystander", sh("i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done"), func(c *drivers.TaskConfig) {
		if n.config.LogCollector == "pod" {
			withoutCollector(c)
		}
	})}
	b.start()
	status, err := n.InspectTask(b.ID)
	must.NoError(n.t, err)
	b.pid = status.DriverAttributes["pid"]
	b.checkUnharmed()
	return b
}

// checkUnharmed checks that the bystander is still the same process, continues to count, and
// that none of its output was lost.
func (b *bystander) checkUnharmed() {
	b.n.t.Helper()
	status, err := b.n.InspectTask(b.ID)
	must.NoError(b.n.t, err)
	must.Eq(b.n.t, drivers.TaskStateRunning, status.State, must.Sprint(status.ExitResult))
	must.Eq(b.n.t, b.pid, status.DriverAttributes["pid"])
	before := len(b.lines())
	b.n.waitFor("the bystander to continue", func() bool { return len(b.lines()) > before+1 })
	for i, line := range b.lines() {
		must.Eq(b.n.t, strconv.Itoa(i+1), line)
	}
}

// lines returns the complete lines that the bystander has printed.
func (b *bystander) lines() []string {
	b.n.t.Helper()
	text, err := os.ReadFile(filepath.Join(b.TaskDir().LogDir, b.Name+".stdout.0"))
	if err != nil && !os.IsNotExist(err) {
		must.NoError(b.n.t, err)
	}
	lines := strings.Split(string(text), "\n")
	return lines[:len(lines)-1]
}

// checkStarts checks that a task starts and exits with 0.
func (n *node) checkStarts(config driver.TaskConfig) {
	n.t.Helper()
	tk := n.newTask("", "next", config, quiet)
	tk.start()
	must.Eq(n.t, 0, tk.wait().ExitCode)
}

// startError starts a task, which must fail, and returns the error. It checks for leftovers.
func (n *node) startError(tk *task) error {
	n.t.Helper()
	_, _, err := n.StartTask(tk.TaskConfig)
	must.Error(n.t, err)
	_, ierr := n.InspectTask(tk.ID)
	must.ErrorContains(n.t, ierr, drivers.ErrTaskNotFound.Error())
	for _, dir := range []string{n.config.DataDir + "/roots", n.config.RunDir + "/runtime", n.config.RunDir + "/pods/*/tasks"} {
		found, gerr := filepath.Glob(dir + "/" + tk.AllocID + "." + tk.Name + ".*")
		must.NoError(n.t, gerr)
		must.SliceEmpty(n.t, found)
	}
	return err
}

// quietRoot changes a task to run as root and to discard its output.
func quietRoot(c *drivers.TaskConfig) {
	quiet(c)
	c.User = "root"
}
