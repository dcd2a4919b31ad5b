package pod

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/nomad-sidecar/nomad-sidecar/driver/cgroup"
	"github.com/nomad-sidecar/nomad-sidecar/driver/namespace"
	"github.com/nomad-sidecar/nomad-sidecar/driver/ociruntime"
	"github.com/nomad-sidecar/nomad-sidecar/driver/process"
)

// salvage returns a container with a damaged state so that it can be removed: its
// directories, root and monitor cgroup are named by its id, and the bundle or the
// kernel has the path of the task's cgroup.
func (m *Manager) salvage(p *pod, id string, damage error) *Container {
	c := m.newContainer(p, Task{AllocID: p.allocID, Name: taskPart(id)})
	c.id, c.dir = id, p.taskDir(id)
	c.setDamaged(damage)
	return c
}

func (c *Container) setDamaged(damage error) {
	c.damage = damage
	c.state.WithImage, c.state.ImageMounts, c.state.CgroupPath = true, MaxImageMounts, c.findCgroup()
}

// findCgroup returns the container's cgroup, or "" if no path is certain to be its own.
// In that case only the runtime can kill the container.
func (c *Container) findCgroup() string {
	if spec, err := readSpec(c.dir); err == nil && spec.Linux != nil && ownCgroup(c.state.AllocID, spec.Linux.CgroupsPath) {
		return spec.Linux.CgroupsPath
	}
	pid, err := ociruntime.InitPID(c.dir)
	if err != nil {
		return ""
	}
	if path, err := cgroup.Of(c.m.cfg.Cgroups, pid); err == nil && ownCgroup(c.state.AllocID, path) {
		return path
	}
	return ""
}

// discard removes a container that no manager manages. It sends an event if the
// state is damaged.
func (c *Container) discard() error {
	if c.damage == nil {
		return c.remove()
	}
	c.event(fmt.Sprintf("The task was killed and removed because the driver cannot read its state: %v; "+
		"check the disk and memory of run_dir if this happens again", c.damage))
	if info, err := os.Lstat(c.dir); err == nil && !info.IsDir() {
		if err := os.Remove(c.dir); err != nil {
			return err
		}
	}
	return c.remove()
}

// taskPart returns the task name in a container id. It may be truncated.
func taskPart(id string) string {
	_, rest, _ := strings.Cut(id, ".")
	return rest[:max(0, strings.LastIndexByte(rest, '.'))]
}

// sameTask reports whether two containers belong to the same task of an allocation.
func (c *Container) sameTask(other *Container) bool {
	if c.id == other.id {
		return false
	}
	if c.damage != nil {
		return taskPart(c.id) == taskPart(other.id)
	}
	return c.state.Name == other.state.Name
}

// repair creates a new state for a pod with a damaged or missing state. The
// infra process of running tasks is the only process in its cgroup.
func (p *pod) repair(t Task, damage error) (podState, error) {
	state := podState{Version: stateVersion, AllocID: p.allocID, Hostname: t.Hostname, Gvisor: gvisorOf(t)}
	if p.m.runtimeOf(p.infraDir()).Gvisor {
		state.Gvisor = &gvisorState{SharePID: t.Share.PID}
		if pid, err := ociruntime.InitPID(p.infraDir()); err == nil {
			state.Infra, _ = process.Identify(pid) // it may have ended
		}
	}
	if namespace.Pinned(p.namespaceDir(), namespace.PID) {
		pids, err := p.cgroup().Child("holder").Procs()
		if err == nil && len(pids) == 1 {
			state.Infra, err = process.Identify(pids[0])
		}
		if err != nil {
			return state, err
		}
	}
	var err error
	if state.IDs, err = p.findIDs(t); err != nil {
		return state, err
	}
	if errors.Is(damage, errDamaged) {
		p.m.cfg.Log.Error("pod state was recreated", "alloc_id", p.allocID, "error", damage)
		p.m.cfg.Event(t.ID, t.AllocID, t.Name, fmt.Sprintf("The state of the pod was recreated: %v", damage))
		if err := os.RemoveAll(p.stateFile()); err != nil {
			return state, err
		}
	}
	return state, p.m.checkpoint("write pod state", func() error { return writeState(p.stateFile(), state) })
}
