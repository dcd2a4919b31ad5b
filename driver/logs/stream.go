package logs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// lineLimit is how far before its end a file may be left for the next one to keep a
	// line whole: Nomad's lineScanLimit.
	lineLimit = 32 << 10

	// pipeBytes is the capacity of a pipe (pipe(7)).
	pipeBytes = 64 << 10

	// patience is how long a file that cannot be written blocks the task. After that
	// its output is dropped until writing works again.
	patience = 10 * time.Second

	pause = 200 * time.Millisecond // between two attempts

	// little is the most that a task that writes line by line has in its pipe when it is
	// polled. Such a pipe is polled again together with those of other tasks, not for
	// each line: waking up costs more than moving the bytes. The pipe has room for
	// what is written meanwhile, and a task that fills it blocks once, since then there
	// is more than a little.
	little = pipeBytes / 4
	every  = 20 * time.Millisecond
)

// stream moves bytes from one FIFO to its files until the last writer has closed it.
type stream struct {
	fifo  *os.File
	files files
	peek  [2]*os.File // a pipe to read the FIFO without consuming it; nil until needed
	tell  func(string)

	moved   int64     // bytes
	failing time.Time // since when the file cannot be written
	dropped int64
	done    chan struct{} // closed when all output is in the files
}

// run returns at the end of the FIFO, or when it is closed.
func (s *stream) run() {
	defer close(s.done)
	defer func() { _ = s.release() }() // nothing is buffered
	raw, err := s.fifo.SyscallConn()
	if err != nil {
		return
	}
	for ended := false; !ended; {
		before := s.moved
		err := raw.Read(func(fd uintptr) bool {
			var err error
			if ended, err = s.move(int(fd)); errors.Is(err, unix.EAGAIN) {
				return false // wait for data
			}
			if s.judge(err) {
				ended = s.drop(int(fd))
			}
			return true
		})
		if err != nil {
			return
		}
		time.Sleep(s.rest(s.moved-before, time.Now()))
	}
}

// rest returns how long to wait before the next read after moving so many bytes.
func (s *stream) rest(moved int64, now time.Time) time.Duration {
	switch {
	case !s.failing.IsZero():
		return pause
	case 0 < moved && moved < little:
		return every - time.Duration(now.UnixNano())%every
	}
	return 0
}

// move moves some of the available bytes. It returns EAGAIN if there are none.
func (s *stream) move(fifo int) (ended bool, err error) {
	if s.files.file == nil {
		if err := s.files.open(); err != nil {
			return false, err
		}
	}
	space := s.files.space()
	if space > lineLimit+pipeBytes {
		return s.splice(fifo, space-lineLimit-pipeBytes)
	}
	return s.moveLines(fifo, space)
}

// splice moves up to n bytes and counts them.
func (s *stream) splice(fifo int, n int64) (ended bool, err error) {
	offset := s.files.offset
	moved, err := unix.Splice(fifo, nil, int(s.files.file.Fd()), &offset, int(min(n, 1<<20)), unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
	if err != nil {
		return false, err
	}
	s.files.offset += moved
	s.moved += moved
	return moved == 0, nil
}

// moveLines fills a file up to the end of a line, and continues with the next file.
func (s *stream) moveLines(fifo int, space int64) (ended bool, err error) {
	if space <= 0 {
		return false, s.files.rotate()
	}
	text, err := s.look(fifo)
	if err != nil {
		return false, err
	}
	if len(text) == 0 {
		return true, nil
	}
	n := wholeLines(text, space, s.files.maxBytes)
	if n == 0 {
		return false, s.files.rotate()
	}
	for n > 0 && err == nil && !ended {
		before := s.files.offset
		ended, err = s.splice(fifo, n)
		n -= s.files.offset - before
	}
	return ended, err
}

// wholeLines returns how many bytes of text a file with the given space may take; 0
// means to continue in the next file. Only a line too long for any file is split.
func wholeLines(text []byte, space, maxBytes int64) int64 {
	fits := int64(len(text)) <= space
	if !fits {
		text = text[:space]
	}
	if end := bytes.LastIndexByte(text, '\n'); end >= 0 {
		return int64(end + 1)
	}
	// The end of the line has not arrived yet. It fits far from the end of the file;
	// near the end the next file is better, unless this one is new.
	near := space <= min(lineLimit, maxBytes/4)
	if fits && !near || space == maxBytes || int64(len(text)) >= lineLimit {
		return int64(len(text))
	}
	return 0
}

// look copies the content of the FIFO without consuming it.
func (s *stream) look(fifo int) ([]byte, error) {
	if s.peek[0] == nil {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		s.peek = [2]*os.File{r, w}
	}
	n, err := unix.Tee(fifo, int(s.peek[1].Fd()), pipeBytes, unix.SPLICE_F_NONBLOCK)
	if err != nil || n == 0 {
		return nil, err
	}
	text := make([]byte, n)
	_, err = io.ReadFull(s.peek[0], text)
	return text, err
}

// judge decides after an error whether the content of the FIFO is kept or dropped:
// it is kept for a while, then dropped, so that a full disk does not stop the task.
func (s *stream) judge(err error) (drop bool) {
	switch {
	case err == nil && s.failing.IsZero():
		return false
	case err == nil:
		s.tell(fmt.Sprintf("%s is writable again; %d bytes of output were dropped", s.files.base, s.dropped))
		s.failing, s.dropped = time.Time{}, 0
		return false
	case s.failing.IsZero():
		s.failing = time.Now()
		s.tell(fmt.Sprintf("output for %s is blocked: %v", s.files.base, err))
	}
	return time.Since(s.failing) > patience
}

// drop discards the content of the FIFO.
func (s *stream) drop(fifo int) (ended bool) {
	n, err := unix.Read(fifo, make([]byte, pipeBytes))
	if err == nil {
		s.dropped += int64(n)
	}
	return err == nil && n == 0
}

func (s *stream) release() error {
	errs := []error{s.fifo.Close(), s.files.close(), s.files.dir.Close()}
	for _, f := range s.peek {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}
