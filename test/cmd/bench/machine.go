package main

import (
	"fmt"
	"os/exec"
	"strings"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// describe returns the command, the versions and the machine of the figures. It omits the date, so
// that the output changes only if one of these does.
func describe(f *field) []string {
	lines := []string{"`make bench`, in groups of two tasks that sleep; the drivers in turns, in one sandbox"}
	versions := []string{version(f.nomad, "version")}
	for _, program := range []string{"crun", "runc", "conmon", "dockerd"} {
		if path, err := exec.LookPath(program); err == nil && (program != "dockerd" || f.docker != nil) {
			versions = append(versions, version(path, "--version"))
		}
	}
	return append(lines, strings.Join(versions, "; "), hardware())
}

// version returns the first line of a program's output.
func version(path string, args ...string) string {
	out, err := exec.Command(path, args...).Output()
	if err != nil {
		return path + " of unknown version"
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line)
}

func hardware() string {
	text := "machine of unknown kind"
	if proc, err := procfs.NewDefaultFS(); err == nil {
		cpus, cerr := proc.CPUInfo()
		memory, merr := proc.Meminfo()
		if cerr == nil && merr == nil && len(cpus) > 0 && memory.MemTotal != nil {
			text = fmt.Sprintf("%d × %s, %d GiB", len(cpus), cpus[0].ModelName, *memory.MemTotal>>20)
		}
	}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err == nil {
		text += ", Linux " + unix.ByteSliceToString(uts.Release[:])
	}
	return text
}
