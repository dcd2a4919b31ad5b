package ociruntime

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"
)

// program copies one of the host's programs to a path.
func program(t *testing.T, name, path string) {
	t.Helper()
	found, err := exec.LookPath(name)
	must.NoError(t, err)
	b, err := os.ReadFile(found)
	must.NoError(t, err)
	must.NoError(t, os.WriteFile(path+".new", b, 0o755))
	must.NoError(t, os.Rename(path+".new", path))
}

// versionOf returns the output of a program with --version.
func versionOf(t *testing.T, path string) string {
	t.Helper()
	out, err := exec.Command(path, "--version").Output()
	must.NoError(t, err)
	line, _, _ := strings.Cut(string(out), "\n")
	return line
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	must.NoError(t, err)
	return len(entries)
}

func TestSealed_Executed(t *testing.T) {
	before := descriptors(t)
	path := filepath.Join(t.TempDir(), "crun")
	program(t, "echo", path)
	s := NewSealed(path, filepath.Join(t.TempDir(), "sealed"))
	r := Runtime{Path: path, Sealed: s}
	at := r.program()
	must.Eq(t, s.link(), at)
	must.StrContains(t, versionOf(t, at), "echo")
	must.Eq(t, at, r.program())
	must.Eq(t, before+1, descriptors(t))

	// The copy cannot be written to, and its seals cannot be changed.
	f, err := os.OpenFile(at, os.O_RDWR, 0)
	must.NoError(t, err)
	_, err = f.Write([]byte("#!/evil"))
	must.ErrorIs(t, err, unix.EPERM)
	must.ErrorIs(t, f.Truncate(0), unix.EPERM)
	has, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0)
	must.NoError(t, err)
	must.Eq(t, seals, has)
	must.NoError(t, f.Close())

	must.NoError(t, s.Close())
	must.NoError(t, s.Close())
	must.Eq(t, before, descriptors(t))
	_, err = os.Lstat(at)
	must.ErrorIs(t, err, os.ErrNotExist)
}

// TestSealed_FollowsUpgrade checks that the program that is now at the path is executed.
func TestSealed_FollowsUpgrade(t *testing.T) {
	path := filepath.Join(t.TempDir(), "crun")
	program(t, "echo", path)
	s := NewSealed(path, filepath.Join(t.TempDir(), "sealed"))
	defer s.Close()
	must.StrContains(t, versionOf(t, s.program(path)), "echo")
	before := descriptors(t)
	program(t, "cat", path)
	must.StrContains(t, versionOf(t, s.program(path)), "cat")
	must.Eq(t, before, descriptors(t))

	must.NoError(t, os.Remove(path))
	must.Eq(t, path, s.program(path), must.Sprint("the path itself, for its error"))
	program(t, "echo", path)
	must.StrContains(t, versionOf(t, s.program(path)), "echo")
	other := filepath.Join(t.TempDir(), "crun")
	must.Eq(t, other, s.program(other))
}

// TestSealed_OtherProcesses checks that the link of a killed process is removed, and the link of
// another running process is kept.
func TestSealed_OtherProcesses(t *testing.T) {
	path, dir := filepath.Join(t.TempDir(), "crun"), t.TempDir()
	program(t, "echo", path)
	for pid, to := range map[string]string{"killed": "/proc/self/fd/12345", "ending": path} {
		must.NoError(t, os.Mkdir(filepath.Join(dir, pid), 0o700))
		must.NoError(t, os.Symlink(to, filepath.Join(dir, pid, "crun")))
	}
	s := NewSealed(path, dir)
	must.StrContains(t, versionOf(t, s.program(path)), "echo")
	_, err := os.Lstat(filepath.Join(dir, "killed"))
	must.ErrorIs(t, err, os.ErrNotExist)
	must.NoError(t, s.Close())
	_, err = os.Lstat(filepath.Join(dir, "ending", "crun"))
	must.NoError(t, err)
}

func TestSealed_NotSealable(t *testing.T) {
	text := func(content string) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			must.NoError(t, os.WriteFile(path, []byte(content), 0o755))
		}
	}
	for name, tc := range map[string]struct {
		name string
		make func(t *testing.T, path string)
	}{
		"another runtime":      {"runc", func(t *testing.T, path string) { program(t, "echo", path) }},
		"a script":             {"crun", text("#!/bin/sh\necho crun version 1\n")},
		"nothing":              {"crun", func(*testing.T, string) {}},
		"an empty file":        {"crun", text("")},
		"a broken program":     {"crun", text("\x7fELF and no more")},
		"a program that fails": {"crun", func(t *testing.T, path string) { program(t, "false", path) }},
	} {
		t.Run(name, func(t *testing.T) {
			before := descriptors(t)
			path, dir := filepath.Join(t.TempDir(), tc.name), t.TempDir()
			tc.make(t, path)
			s := NewSealed(path, dir)
			for range 2 {
				must.Eq(t, path, s.program(path))
			}
			left, err := os.ReadDir(dir)
			must.NoError(t, err)
			must.SliceEmpty(t, left)
			must.Eq(t, before, descriptors(t), must.Sprint("descriptors"))
			must.NoError(t, s.Close())
		})
	}
	must.Eq(t, "/crun", Runtime{Path: "/crun"}.program(), must.Sprint("without a sealed copy"))
}

// TestSealed_ProcessName checks that the process has its usual name.
func TestSealed_ProcessName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "crun")
	program(t, "cat", path)
	s := NewSealed(path, t.TempDir())
	defer s.Close()
	cmd := exec.Command(s.program(path))
	in, err := cmd.StdinPipe()
	must.NoError(t, err)
	must.NoError(t, cmd.Start())
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", cmd.Process.Pid))
	must.NoError(t, err)
	must.Eq(t, "crun\n", string(comm))
	must.NoError(t, in.Close())
	must.NoError(t, cmd.Wait())
}
