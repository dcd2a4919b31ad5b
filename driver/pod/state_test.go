package pod

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver/process"
)

// The state of each older version of the driver can be read as long as its tasks may be running. A
// sample is never changed; a new version adds one.
func TestState_OlderVersions(t *testing.T) {
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
	must.Eq(t, podState{Version: 1, AllocID: alloc, Hostname: "web", Infra: process.Identity{PID: 40, StartTicks: 998}}, pod)
}

// A task of a newer driver is refused and left unchanged.
func TestState_NewerVersion(t *testing.T) {
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

// FuzzTaskState checks that reading a state file returns a state of the file's own container, or an
// error.
func FuzzTaskState(f *testing.F) {
	id := containerID(alloc, "web", alloc+"/web/1")
	good, err := json.Marshal(taskState{Version: 1, TaskID: alloc + "/web/1", AllocID: alloc, Name: "web", CgroupPath: "/nomad/" + alloc + ".web"})
	must.NoError(f, err)
	for _, seed := range []string{string(good), "", "null", "[]", `{"version":1}`, `{"version":2}`, strings.ReplaceAll(string(good), "/nomad/"+alloc+".web", "/"), strings.Repeat("[", 1<<16)} {
		f.Add([]byte(seed))
	}
	dir := f.TempDir()
	p := &pod{allocID: alloc, dir: dir}
	must.NoError(f, os.MkdirAll(p.taskDir(id), 0o700))
	f.Fuzz(func(t *testing.T, content []byte) {
		must.NoError(t, os.WriteFile(filepath.Join(p.taskDir(id), "task.json"), content, 0o600))
		s, err := p.taskState(id)
		if err == nil {
			must.Eq(t, id, containerID(s.AllocID, s.Name, s.TaskID))
			must.True(t, ownCgroup(alloc, s.CgroupPath))
		}
	})
}

func FuzzTaskPart(f *testing.F) {
	f.Add("web")
	f.Add(strings.Repeat("a.b", 40))
	f.Add("ü/..\x00")
	f.Fuzz(func(t *testing.T, name string) {
		short := safe.ReplaceAllString(name, "_")
		must.Eq(t, short[:min(len(short), 40)], taskPart(containerID(alloc, name, "id")))
	})
}
