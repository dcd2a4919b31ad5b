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

// HasReader reports whether a process has a file open for reading only. Tasks have their
// log pipes open for writing as well, which does not count. It checks every descriptor of
// every process, which takes milliseconds on a busy host.
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

// reads reports whether one process has the file open for reading only.
func reads(proc string, file os.FileInfo) (bool, error) {
	open, err := os.ReadDir(filepath.Join(proc, "fd"))
	if err != nil {
		return false, err
	}
	for _, fd := range open {
		info, err := os.Stat(filepath.Join(proc, "fd", fd.Name()))
		if err != nil || !os.SameFile(info, file) { // closed meanwhile
			continue
		}
		if found, err := readOnly(filepath.Join(proc, "fdinfo", fd.Name())); found || err != nil {
			return found, err
		}
	}
	return false, nil
}

// readOnly parses how a file was opened, see proc_pid_fdinfo(5).
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

// ended reports whether an error means that the process or its descriptor no longer
// exists.
func ended(err error) bool { return errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) }
