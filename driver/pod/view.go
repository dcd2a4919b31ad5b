package pod

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// view resolves paths as the task sees them: in its root and the bind mounts over it. It never
// follows a symbolic link on the host.
type view struct {
	root   string
	mounts []specs.Mount // in mount order
	users  *users        // of the task
}

var (
	errOpaque   = errors.New("the path is in a file system that exists only inside the task")
	errTooLinky = errors.New("too many symbolic links")
)

// maxLinks is MAXSYMLINKS of Linux.
const maxLinks = 40

// open opens a path with O_PATH. It returns os.ErrNotExist if the path does not exist, and
// errOpaque if it can only be resolved in the running task.
func (v view) open(name string) (*os.File, error) {
	f, _, _, err := v.walk(name, nil)
	return f, err
}

// walk is open. It calls enter, unless nil, for every directory on the way. After an error, at is the
// path that could not be opened, which contains no symbolic link, and rest is the path below it.
func (v view) walk(name string, enter func(dir *os.File, at string) error) (f *os.File, at string, rest []string, err error) {
	at, rest = "/", split(name)
	for links := 0; ; {
		f, err := v.openExact(at)
		if errors.Is(err, os.ErrNotExist) && len(rest) > 0 && v.isCreated(at) {
			at, rest = path.Join(at, rest[0]), rest[1:]
			continue
		}
		if err != nil {
			return nil, at, rest, err
		}
		target, isLink, err := readLink(f)
		if err == nil && !isLink && len(rest) == 0 {
			return f, at, nil, nil
		}
		if err == nil && !isLink && enter != nil {
			err = enter(f, at)
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, at, rest, err
		}
		if isLink {
			if links++; links > maxLinks {
				return nil, at, rest, errTooLinky
			}
			at, rest = path.Dir(at), append(split(target), rest...)
			if path.IsAbs(target) {
				at = "/"
			}
			if len(rest) == 0 {
				continue
			}
		}
		at, rest = path.Join(at, rest[0]), rest[1:]
	}
}

// isCreated reports whether the runtime creates a missing directory of the root as a parent of a
// mount's target.
func (v view) isCreated(name string) bool {
	if m, _ := v.mountOf(name); m != nil {
		return false
	}
	return slices.ContainsFunc(v.mounts, func(m specs.Mount) bool {
		below, ok := cutDir(filepath.Clean(m.Destination), name)
		return ok && below != ""
	})
}

func split(name string) []string {
	return strings.FieldsFunc(name, func(r rune) bool { return r == '/' })
}

// openExact opens a path of the task. Its parents contain no symbolic link.
func (v view) openExact(name string) (*os.File, error) {
	source, rest := v.root, name
	if m, below := v.mountOf(name); m != nil {
		if m.Type != "bind" {
			return nil, errOpaque
		}
		source, rest = m.Source, below
	}
	how := unix.OpenHow{
		Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	}
	if rest = strings.TrimPrefix(rest, "/"); rest != "" {
		f, err := openat2(source, rest, how)
		if errors.Is(err, unix.ENOTDIR) {
			err = os.ErrNotExist
		}
		return f, err
	}
	fd, err := unix.Open(source, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: source, Err: err}
	}
	return os.NewFile(uintptr(fd), source), nil
}

// mountOf returns the mount that contains a path without symbolic links, and the path below it, or
// nil for a path in the root.
func (v view) mountOf(name string) (found *specs.Mount, below string) {
	for i, m := range v.mounts {
		if rest, ok := cutDir(name, filepath.Clean(m.Destination)); ok {
			found, below = &v.mounts[i], rest
		}
	}
	return found, below
}

// cutDir returns the part of name below dir, which begins with a slash or is empty.
func cutDir(name, dir string) (below string, ok bool) {
	if dir == "/" {
		return name, true
	}
	below, ok = strings.CutPrefix(name, dir)
	return below, ok && (below == "" || below[0] == '/')
}

// readLink reads the target of a symbolic link that was opened with O_PATH.
func readLink(f *os.File) (target string, isLink bool, err error) {
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeSymlink == 0 {
		return "", false, err
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(f.Fd()), "", buf)
	if err != nil {
		return "", true, fmt.Errorf("read link: %w", err)
	}
	return string(buf[:n]), true, nil
}

func owner(info os.FileInfo) (uid, gid uint32) {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Uid, stat.Gid
	}
	return 0, 0
}
