package pod

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
	"github.com/nomad-sidecar/nomad-sidecar/driver/ocispec"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testtimeout"
)

const alloc = "01234567-89ab-cdef-0123-456789abcdef"

func TestRollback_Order(t *testing.T) {
	var order []string
	var r rollback
	for _, name := range []string{"a", "b", "c"} {
		r.push(name, func() error {
			order = append(order, name)
			if name == "b" {
				return errors.New("broken")
			}
			return nil
		})
	}
	must.EqError(t, r.run(), "undo b: broken")
	must.Eq(t, []string{"c", "b", "a"}, order)
	must.NoError(t, r.run(), must.Sprint("second rollback"))
}

func TestContainerIDs(t *testing.T) {
	id := containerID(alloc, "web", alloc+"/web/12345678")
	must.StrHasPrefix(t, alloc+".web.", id)
	must.NotEq(t, id, containerID(alloc, "web", alloc+"/web/87654321"))
	odd := containerID(alloc, "Ünï cöde/../"+strings.Repeat("x", 300), "x")
	must.Eq(t, odd, filepath.Base(odd))
	must.Less(t, 100, len(odd))
	must.False(t, safe.MatchString(odd))
}

func TestCommandLine_LikeDocker(t *testing.T) {
	img := image.ImageConfig{Entrypoint: []string{"/entry"}, Cmd: []string{"default"}}
	for _, tc := range []struct {
		process Process
		want    string
	}{
		{Process{}, "/entry default"},
		{Process{Command: []string{"own"}}, "/entry own"},
		{Process{Entrypoint: []string{"/mine"}}, "/mine"},
		{Process{Entrypoint: []string{"/mine"}, Command: []string{"own"}}, "/mine own"},
	} {
		must.Eq(t, tc.want, strings.Join(tc.process.args(img), " "))
	}
}

func TestEnv_Merged(t *testing.T) {
	got := environment([]string{"A=image", "B=image"}, []string{"B=task", "C=task"})
	must.Eq(t, []string{"A=image", "B=task", "C=task"}, got)
}

func TestDefaultEnv(t *testing.T) {
	task := Task{Hostname: "web"}
	must.Eq(t, []string{"PATH=" + defaultPath, "HOME=/", "HOSTNAME=web"}, task.defaultEnv(""))
	task.HostNamespaces.UTS = true
	must.Eq(t, []string{"PATH=" + defaultPath, "HOME=/home/app"}, task.defaultEnv("/home/app"))
	must.Eq(t, []string{"A=1"}, valid([]string{"NOVALUE", "=x", "A=1", "HOME="}))
}

func TestHostPaths(t *testing.T) {
	p, err := ParseHostPath("/opt/a:/b")
	must.NoError(t, err)
	must.Eq(t, HostPath{"/opt/a", "/b"}, p)
	for _, bad := range []string{"", "/", "a", "/a:b", "/a:/", "/a/../b", "/a:", ":/a"} {
		_, err := ParseHostPath(bad)
		must.ErrorContains(t, err, "want", must.Sprint(bad))
	}
}

// A symlink such as /bin is a symlink in the task too if its target is in the task. Otherwise it is
// mounted.
func TestHostRoot_CopiesLinks(t *testing.T) {
	host, root := t.TempDir(), filepath.Join(t.TempDir(), "root")
	for _, d := range []string{"usr/bin", "far"} {
		must.NoError(t, os.MkdirAll(filepath.Join(host, d), 0o755))
	}
	must.NoError(t, os.Symlink("usr/bin", filepath.Join(host, "bin")))
	must.NoError(t, os.Symlink("/nowhere", filepath.Join(host, "lost")))
	must.NoError(t, os.Symlink("far", filepath.Join(host, "out")))
	path := func(p string) HostPath { return HostPath{filepath.Join(host, p), filepath.Join(host, p)} }

	s, err := newHostRoot([]HostPath{path("usr"), path("bin"), path("out")})
	must.NoError(t, err)
	must.NoError(t, s.make(root))
	must.Eq(t, []ocispec.Mount{
		ocispec.Bind(path("usr").HostPath, path("usr").TaskPath, true),
		ocispec.Bind(path("out").HostPath, path("out").TaskPath, true),
	}, s.mounts)
	link, err := os.Readlink(filepath.Join(root, path("bin").TaskPath))
	must.NoError(t, err)
	must.Eq(t, "usr/bin", link)
	info, err := os.Stat(filepath.Join(root, "tmp"))
	must.NoError(t, err)
	must.Eq(t, os.ModeDir|os.ModeSticky|0o777, info.Mode())

	_, err = newHostRoot([]HostPath{path("lost")})
	must.ErrorIs(t, err, os.ErrNotExist)
}

// Trap D5, CVE-2026-14896.
func TestOpenBeneath_Symlinks(t *testing.T) {
	dir := t.TempDir()
	must.NoError(t, os.MkdirAll(filepath.Join(dir, "real/logs"), 0o755))
	must.NoError(t, os.Symlink("/etc", filepath.Join(dir, "link")))
	must.NoError(t, os.Symlink("real", filepath.Join(dir, "inner")))
	for name, want := range map[string]error{
		"real/logs": nil, "link": unix.ELOOP, "inner/logs": unix.ELOOP, "../x": unix.EXDEV, "/etc": unix.EXDEV, "none": unix.ENOENT,
	} {
		f, err := openBeneath(dir, name)
		if want != nil {
			must.ErrorIs(t, err, want, must.Sprint(name))
			continue
		}
		must.NoError(t, err)
		must.NoError(t, f.Close())
	}
}

func TestOpenLog_LinkOnTheWay(t *testing.T) {
	dir := t.TempDir()
	must.NoError(t, os.MkdirAll(filepath.Join(dir, "alloc/own"), 0o755))
	must.NoError(t, unix.Mkfifo(filepath.Join(dir, "alloc/own/fifo"), 0o600))
	must.NoError(t, os.Symlink("own", filepath.Join(dir, "alloc/logs")))
	_, err := openLog(dir, filepath.Join(dir, "alloc/logs/fifo"))
	must.ErrorIs(t, err, unix.ELOOP)
	f, err := openLog(dir, filepath.Join(dir, "alloc/own/fifo"))
	must.NoError(t, err)
	must.NoError(t, f.Close())
}

func TestLookupUser_InRoot(t *testing.T) {
	root := t.TempDir()
	must.NoError(t, os.MkdirAll(filepath.Join(root, "etc"), 0o755))
	must.NoError(t, os.WriteFile(filepath.Join(root, "etc/real"), []byte("app:x:1234:1234::/:\n"), 0o644))
	must.NoError(t, os.Symlink("/etc/real", filepath.Join(root, "etc/passwd")))
	must.NoError(t, os.Symlink("../../../../../../etc/hostname", filepath.Join(root, "etc/group")))
	f, err := openInRoot(root, "etc/passwd")
	must.NoError(t, err)
	b, err := io.ReadAll(f)
	must.NoError(t, err)
	must.NoError(t, f.Close())
	must.Eq(t, "app:x:1234:1234::/:\n", string(b))

	u, _, err := lookupUser(root, "app")
	must.NoError(t, err)
	must.Eq(t, ocispec.User{UID: 1234, GID: 1234}, u)
	u, _, err = lookupUser(root, "77:88")
	must.NoError(t, err)
	must.Eq(t, ocispec.User{UID: 77, GID: 88}, u)
	must.NoError(t, os.Remove(filepath.Join(root, "etc/group")))
	must.NoError(t, os.WriteFile(filepath.Join(root, "etc/group"), []byte("adm:x:4:app\nlog:x:9:\n"), 0o644))
	u, _, err = lookupUser(root, "app", "log", "4321", "adm", "1234")
	must.NoError(t, err)
	must.Eq(t, ocispec.User{UID: 1234, GID: 1234, Additional: []uint32{4, 9, 4321}}, u)
	_, _, err = lookupUser(root, "app", "none-such")
	must.ErrorContains(t, err, "group_add")
	_, _, err = lookupUser(root, "nobody-here")
	must.ErrorIs(t, err, ErrInvalid)
	must.ErrorContains(t, err, `user "nobody-here"`)
}

// A passwd file of an image that is not a regular file is refused without blocking.
func TestLookupUser_NotRegularFile(t *testing.T) {
	for name, put := range map[string]func(path string) error{
		"pipe":      func(path string) error { return unix.Mkfifo(path, 0o644) },
		"directory": func(path string) error { return os.Mkdir(path, 0o755) },
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			must.NoError(t, os.Mkdir(filepath.Join(root, "etc"), 0o755))
			must.NoError(t, put(filepath.Join(root, "etc/passwd")))
			done := make(chan error, 1)
			go func() { // ends immediately, or blocks until the tests end
				_, _, err := lookupUser(root, "app")
				done <- err
			}()
			select {
			case err := <-done:
				must.ErrorContains(t, err, "/etc/passwd in the task's root is not a regular file of at most")
			case <-time.After(testtimeout.Scale(10 * time.Second)):
				t.Fatal("lookup blocks on the FIFO")
			}
		})
	}
}

// Trap D4: a task's output is read from its own pipe only, even if other processes can replace
// files in its directory.
func TestOutputPipe_Replaced(t *testing.T) {
	for name, tc := range map[string]struct {
		replace func(path, other string) error
		refused bool
	}{
		"itself":          {func(string, string) error { return nil }, false},
		"another":         {func(path, other string) error { return os.Rename(other, path) }, true},
		"link to another": {func(path, other string) error { return errors.Join(os.Remove(path), os.Symlink(other, path)) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			path, other := filepath.Join(t.TempDir(), "stdout"), filepath.Join(t.TempDir(), "other")
			for _, fifo := range []string{path, other} {
				must.NoError(t, unix.Mkfifo(fifo, 0o600))
			}
			task, err := openLog("", path)
			must.NoError(t, err)
			defer task.Close()
			state, err := identifyPipe(task)
			must.NoError(t, err)
			must.NoError(t, tc.replace(path, other))
			fd, err := pipe{pipeState: *state}.open()
			if tc.refused {
				must.ErrorContains(t, err, "was replaced")
				return
			}
			must.NoError(t, err)
			must.NoError(t, unix.Close(fd))
		})
	}
}

func TestSignals(t *testing.T) {
	for _, wrong := range []string{"SIGBOGUS", "0", "65", "SIGRTMIN-1", "SIGRTMIN+31", "SIGRTMIN3", "RTMAX+1", "RTMAX-31", "RTMIN+", "RTMIN+x", "RTMAX-"} {
		_, err := ParseSignal(wrong)
		must.ErrorIs(t, err, ErrInvalid, must.Sprint(wrong))
	}
	for text, want := range map[string]unix.Signal{
		"": 0, "SIGTERM": 15, "TERM": 15, "term": 15, "15": 15, "64": 64,
		"SIGRTMIN": 34, "SIGRTMIN+3": 37, "rtmin+3": 37, "RTMAX": 64, "SIGRTMAX-27": 37, "RTMAX-30": 34,
	} {
		got, err := ParseSignal(text)
		must.NoError(t, err)
		must.Eq(t, want, got)
	}
	for _, bad := range []string{"0", "-1", "99", "SIG", "nonsense"} {
		_, err := ParseSignal(bad)
		must.ErrorIs(t, err, ErrInvalid, must.Sprint(bad))
	}
}

func TestStart_InvalidTask(t *testing.T) {
	good := Task{ID: "i", AllocID: alloc, Name: "n", CgroupPath: "/nomad/x", Process: Process{Command: []string{"a"}}}
	must.NoError(t, good.Check())
	for name, change := range map[string]func(*Task){
		"allocation": func(t *Task) { t.AllocID = ".." },
		"id":         func(t *Task) { t.ID = "" },
		"name":       func(t *Task) { t.Name = "../n" },
		"command":    func(t *Task) { t.Process.Command = nil },
		"cgroup":     func(t *Task) { t.CgroupPath = "/x/.." },
		"mount":      func(t *Task) { t.Mounts = []ocispec.Mount{{Target: "rel"}} },
	} {
		task := good
		change(&task)
		_, err := New(Config{RunDir: "/nonexistent"}).Start(t.Context(), task)
		must.ErrorIs(t, err, ErrInvalid, must.Sprint(name))
	}
}

func TestState_ReplacedAtomically(t *testing.T) {
	path := filepath.Join(t.TempDir(), "task.json")
	want := taskState{Version: stateVersion, TaskID: "a", Share: Share{PID: true}, CgroupPath: "/c"}
	must.NoError(t, writeState(path, want))
	got, err := readTaskState(path)
	must.NoError(t, err)
	must.Eq(t, want, got)
	entries, err := os.ReadDir(filepath.Dir(path))
	must.NoError(t, err)
	must.Len(t, 1, entries)

	must.NoError(t, os.WriteFile(path, []byte(`{"version": 99}`), 0o600))
	_, err = readTaskState(path)
	must.ErrorContains(t, err, "version 99")
}

// FuzzState checks that a state file is either read or refused, and that a state that was read
// can be written and read again.
func FuzzState(f *testing.F) {
	for _, seed := range []string{`{"version":1,"task_id":"a"}`, `{"version":2}`, `{}`, ``, `[]`, `{"version":1,"started_at":"x"}`, `null`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "task.json")
		must.NoError(t, os.WriteFile(path, b, 0o600))
		got, err := readTaskState(path)
		if err != nil {
			return
		}
		must.Eq(t, stateVersion, got.Version)
		must.NoError(t, writeState(path, got))
		again, err := readTaskState(path)
		must.NoError(t, err)
		must.Eq(t, got, again)
	})
}
