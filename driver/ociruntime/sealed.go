package ociruntime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Sealed keeps an immutable copy of the crun executable in memory. crun otherwise
// makes such a copy for each command, so that a container cannot overwrite it through
// /proc/self/exe (CVE-2019-5736), and executes itself again: half the time of most
// commands. Other runtimes are executed directly, and so is crun if the copy cannot
// be created or executed.
//
// The copy follows the file: an upgrade takes effect with the next command.
type Sealed struct {
	path string // of the program
	dir  string // links to copies, in one subdirectory per process

	mu     sync.Mutex
	copied FileID
	file   *os.File // nil: none
}

// FileID distinguishes a file from its replacement.
type FileID struct {
	dev, ino       uint64
	size           int64
	change, modify unix.Timespec
}

// NewSealed returns a Sealed for the program at path. It links the copy below dir,
// which is created with the first copy.
func NewSealed(path, dir string) *Sealed { return &Sealed{path: path, dir: dir} }

// Close closes the copy.
func (s *Sealed) Close() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.copied = FileID{}
	return s.drop()
}

func (s *Sealed) drop() error {
	if s.file == nil {
		return nil
	}
	err := errors.Join(os.RemoveAll(filepath.Dir(s.link())), s.file.Close())
	s.file = nil
	return err
}

// link returns the path of the link to the copy. Its base name is the name of the
// process. Each process has its own, since an earlier one may still be exiting.
func (s *Sealed) link() string {
	return filepath.Join(s.dir, strconv.Itoa(os.Getpid()), filepath.Base(s.path))
}

// program returns the path to execute for path.
func (s *Sealed) program(path string) string {
	if s == nil || path != s.path || filepath.Base(path) != "crun" {
		return path
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id, err := Identify(path)
	if err != nil {
		return path // executing it returns the error
	}
	if id != s.copied {
		s.copied = id // also if it cannot be copied
		s.replace(s.make())
	}
	if s.file == nil {
		return path
	}
	return s.link()
}

// replace changes the copy, or removes it. A command that already received the link
// finds the old or the new copy.
func (s *Sealed) replace(file *os.File) {
	old := s.file
	if file == nil {
		_ = s.drop()
		return
	}
	s.file = file
	if old != nil {
		_ = old.Close()
	}
}

// make creates an executable copy, and the link to it.
func (s *Sealed) make() *os.File {
	f, err := sealedCopy(s.path)
	if err != nil {
		return nil
	}
	at := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd())
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err = version(ctx, at); err == nil {
		err = s.relink(at)
	}
	if err != nil {
		_ = f.Close()
		return nil
	}
	return f
}

// relink atomically changes the target of the link and removes the links of
// processes that were killed.
func (s *Sealed) relink(to string) error {
	others, err := filepath.Glob(filepath.Join(s.dir, "*", "*"))
	if err != nil {
		return err
	}
	for _, link := range others {
		if _, err := os.Stat(link); errors.Is(err, os.ErrNotExist) && link != s.link() {
			_ = os.RemoveAll(filepath.Dir(link)) // a leftover does no harm
		}
	}
	next := s.link() + ".next"
	if err := os.MkdirAll(filepath.Dir(next), 0o700); err != nil {
		return err
	}
	if err := os.Remove(next); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return errors.Join(os.Symlink(to, next), os.Rename(next, s.link()))
}

// seals are the memfd seals that crun checks.
const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE

func sealedCopy(path string) (_ *os.File, err error) {
	from, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer from.Close()
	fd, err := unix.MemfdCreate(filepath.Base(path), unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // Linux before 6.3, where every memfd is executable
		fd, err = unix.MemfdCreate(filepath.Base(path), unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return nil, err
	}
	to := os.NewFile(uintptr(fd), "sealed "+path)
	if err = copyProgram(to, from); err == nil {
		_, err = unix.FcntlInt(to.Fd(), unix.F_ADD_SEALS, seals)
	}
	if err != nil {
		return nil, errors.Join(err, to.Close())
	}
	return to, nil
}

// copyProgram refuses a script: its interpreter would get the path of the copy, which
// has none of the script's neighbors.
func copyProgram(to, from *os.File) error {
	magic := make([]byte, 4)
	if _, err := io.ReadFull(from, magic); err != nil {
		return err
	}
	if !bytes.Equal(magic, []byte("\x7fELF")) {
		return errors.New("not an ELF program")
	}
	if _, err := to.Write(magic); err != nil {
		return err
	}
	_, err := io.Copy(to, from)
	return err
}

// Identify returns the ID of the file at path. It follows links.
func Identify(path string) (FileID, error) {
	info, err := os.Stat(path)
	if err != nil {
		return FileID{}, err
	}
	st := info.Sys().(*syscall.Stat_t)
	return FileID{
		uint64(st.Dev), st.Ino, st.Size, unix.Timespec(st.Ctim), unix.Timespec(st.Mtim),
	}, nil
}
