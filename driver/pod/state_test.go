package pod

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver/process"
)

// What each version of the driver wrote can be read as long as there may be
// tasks of it. A sample is never changed; a new version adds one.
func TestStatesOfOlderVersionsAreRead(t *testing.T) {
	task, err := readTaskState("testdata/state-1/task.json")
	must.NoError(t, err)
	must.Eq(t, taskState{
		Version: 1, TaskID: alloc + "/web/12345678", AllocID: alloc, Name: "web",
		Share: Share{IPC: true, UTS: true, PID: true}, CgroupPath: "/nomad.slice/share.slice/web.scope",
		ImageID: "0123abcd", Digest: "sha256:4567", StopSignal: "SIGQUIT",
		Init: process.Identity{PID: 42, StartTicks: 1000}, Monitor: process.Identity{PID: 41, StartTicks: 999},
		StartedAt: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), ReadyAt: time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC),
		After: []string{"db"}, PreStop: &PreStop{Args: []string{"/bin/true"}, Timeout: 5 * time.Second}, OOMKills: 2,
	}, task)
	pod, err := readPodState("testdata/state-1/pod.json")
	must.NoError(t, err)
	must.Eq(t, podState{Version: 1, AllocID: alloc, Hostname: "web", Holder: process.Identity{PID: 40, StartTicks: 998}}, pod)
}

// A task of a newer driver is refused, and left to that one.
func TestAStateOfANewerVersionIsRefused(t *testing.T) {
	run := t.TempDir()
	m := New(Config{RunDir: run, DataDir: t.TempDir()})
	id := alloc + "/web/1"
	dir := filepath.Join(run, "pods", alloc, "tasks", containerID(alloc, "web", id))
	must.NoError(t, os.MkdirAll(dir, 0o700))
	path := filepath.Join(dir, "task.json")
	newer := []byte(`{"version": 2, "task_id": "` + id + `", "name": "web", "what": "is new"}`)
	must.NoError(t, os.WriteFile(path, newer, 0o600))
	_, err := m.Recover(t.Context(), alloc, "web", id)
	must.ErrorContains(t, err, "version 2")
	_, err = m.Start(t.Context(), Task{ID: alloc + "/web/2", AllocID: alloc, Name: "web", CgroupPath: "/x/y", Process: Process{Command: []string{"a"}}})
	must.ErrorContains(t, err, "version 2")
	must.NoError(t, m.Close())
	left, err := os.ReadFile(path)
	must.NoError(t, err)
	must.Eq(t, string(newer), string(left))
}
