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

// Sealed keeps a copy of crun's program in memory that nobody can write to, not
// even root. Of a program that is not one crun makes such a copy each time, so
// that a container can not overwrite it through /proc/self/exe (CVE-2019-5736),
// and executes itself once more: half of the time of most commands. Other
// runtimes are executed from where they are, and so is crun where such a copy
// can not be made or not be executed.
//
// The copy is that of the file that is there now: an upgrade is seen before
// the next command.
type Sealed struct {
	path string // of the program
	dir  string // of links to copies, below which each process has its own

	mu     sync.Mutex
	copied fileID
	file   *os.File // nil: none
}

// fileID tells a file from one that replaces it.
type fileID struct {
	dev, ino       uint64
	size           int64
	change, modify unix.Timespec
}

// NewSealed returns one for a program, with a link to its copy below a
// directory, which is made with the first.
func NewSealed(path, dir string) *Sealed { return &Sealed{path: path, dir: dir} }

// Close lets go of the copy.
func (s *Sealed) Close() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.copied = fileID{}
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

// link leads to the copy. A process that executes it has its name. An earlier
// process may still be about to end, and so has another.
func (s *Sealed) link() string {
	return filepath.Join(s.dir, strconv.Itoa(os.Getpid()), filepath.Base(s.path))
}

// program is the path to execute for a path.
func (s *Sealed) program(path string) string {
	if s == nil || path != s.path || filepath.Base(path) != "crun" {
		return path
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id, err := identify(path)
	if err != nil {
		return path // whoever executes it sees the error
	}
	if id != s.copied {
		s.copied = id // also where there is no copy of it
		s.replace(s.make())
	}
	if s.file == nil {
		return path
	}
	return s.link()
}

// replace has the copy be another, or none. A command that was given the link
// already finds the one or the other there.
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

// make makes a copy that can be executed, and the link to it.
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

// relink makes the link lead elsewhere, at once, and removes those of processes
// that were killed.
func (s *Sealed) relink(to string) error {
	others, err := filepath.Glob(filepath.Join(s.dir, "*", "*"))
	if err != nil {
		return err
	}
	for _, link := range others {
		if _, err := os.Stat(link); errors.Is(err, os.ErrNotExist) && link != s.link() {
			_ = os.RemoveAll(filepath.Dir(link)) // it does no harm
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

// seals are those by which crun knows that its program can not be written to.
const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE

func sealedCopy(path string) (_ *os.File, err error) {
	from, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer from.Close()
	fd, err := unix.MemfdCreate(filepath.Base(path), unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // Linux before 6.3, where all can be executed
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

// copyProgram refuses a script: its interpreter is told the path of the copy,
// beside which nothing else is.
func copyProgram(to, from *os.File) error {
	magic := make([]byte, 4)
	if _, err := io.ReadFull(from, magic); err != nil {
		return err
	}
	if !bytes.Equal(magic, []byte("\x7fELF")) {
		return errors.New("not a program in ELF")
	}
	if _, err := to.Write(magic); err != nil {
		return err
	}
	_, err := io.Copy(to, from)
	return err
}

func identify(path string) (fileID, error) {
	info, err := os.Stat(path)
	if err != nil {
		return fileID{}, err
	}
	st := info.Sys().(*syscall.Stat_t)
	return fileID{
		uint64(st.Dev), st.Ino, st.Size, unix.Timespec(st.Ctim), unix.Timespec(st.Mtim),
	}, nil
}
