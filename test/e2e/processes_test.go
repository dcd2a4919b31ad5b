package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/hashicorp/nomad/api"
	"github.com/prometheus/procfs"
	"github.com/shoenig/test/must"
)

// first returns the oldest process of a task, identified by its cgroup. Unlike the cgroup, a
// program can overwrite its environment and arguments.
func (c *cluster) first(alloc *api.Allocation, task string) procfs.ProcStat {
	c.t.Helper()
	all, err := procfs.AllProcs()
	must.NoError(c.t, err)
	var found []procfs.ProcStat
	for _, p := range all {
		stat, err := p.Stat()
		if err == nil && stat.Comm != "conmon" && inTask(p, alloc, task) {
			found = append(found, stat)
		}
	}
	must.SliceNotEmpty(c.t, found, must.Sprintf("no process of task %s", task))
	return slices.MinFunc(found, func(a, b procfs.ProcStat) int {
		return int(a.Starttime) - int(b.Starttime)
	})
}

func inTask(p procfs.Proc, alloc *api.Allocation, task string) bool {
	groups, err := p.Cgroups()
	return err == nil && slices.ContainsFunc(groups, func(g procfs.Cgroup) bool {
		return strings.Contains(g.Path, alloc.ID) && strings.Contains(g.Path, task)
	})
}

// identities returns the PID and start time of each task's first process.
func (c *cluster) identities(alloc *api.Allocation, tasks ...string) map[string]string {
	c.t.Helper()
	ids := map[string]string{}
	for _, task := range tasks {
		stat := c.first(alloc, task)
		ids[task] = fmt.Sprintf("%d@%d", stat.PID, stat.Starttime)
	}
	return ids
}

// namespace returns a namespace of a process, such as "net:[4026531840]".
func (c *cluster) namespace(pid int, kind string) string {
	c.t.Helper()
	link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, kind))
	must.NoError(c.t, err)
	return link
}
