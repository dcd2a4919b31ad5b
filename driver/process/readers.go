package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// HasReader tells whether a process has a file open for reading and for nothing
// else. One that has it for writing as well is not meant: tasks hold
// their log pipes so. It looks at every descriptor of every process, which
// takes milliseconds on a full host.
func HasReader(path string) (bool, error) {
	file, err := os.Stat(path)
	if err != nil {
		return false, err
	}
	procs, err := os.ReadDir("/proc")
	if err != nil {
		return false, err
	}
	for _, p := range procs {
		if _, err := strconv.Atoi(p.Name()); err != nil {
			continue
		}
		found, err := reads(filepath.Join("/proc", p.Name()), file)
		if found || err != nil && !ended(err) {
			return found, err
		}
	}
	return false, nil
}

// reads tells whether one process does.
func reads(proc string, file os.FileInfo) (bool, error) {
	open, err := os.ReadDir(filepath.Join(proc, "fd"))
	if err != nil {
		return false, err
	}
	for _, fd := range open {
		info, err := os.Stat(filepath.Join(proc, "fd", fd.Name()))
		if err != nil || !os.SameFile(info, file) { // closed in between
			continue
		}
		if found, err := readOnly(filepath.Join(proc, "fdinfo", fd.Name())); found || err != nil {
			return found, err
		}
	}
	return false, nil
}

// readOnly reads how a file was opened; see proc_pid_fdinfo(5).
func readOnly(fdinfo string) (bool, error) {
	text, err := os.ReadFile(fdinfo)
	if err != nil {
		return false, err
	}
	for line := range strings.Lines(string(text)) {
		octal, ok := strings.CutPrefix(line, "flags:")
		if !ok {
			continue
		}
		flags, err := strconv.ParseUint(strings.TrimSpace(octal), 8, 64)
		if err != nil {
			return false, fmt.Errorf("%s: %w", fdinfo, err)
		}
		return flags&unix.O_ACCMODE == unix.O_RDONLY, nil
	}
	return false, fmt.Errorf("%s has no flags", fdinfo)
}

// ended tells whether an error means that the process, or what it had open, is
// not there any more.
func ended(err error) bool { return errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) }
