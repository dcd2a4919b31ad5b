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
	// lineLimit is how much of a file may stay empty so that a line is not split between
	// two files: Nomad's lineScanLimit.
	lineLimit = 32 << 10

	// pipeBytes is the capacity of a pipe (pipe(7)).
	pipeBytes = 64 << 10

	// blockTimeout is how long a file that cannot be written blocks the task. After that
	// its output is dropped until writing works again.
	blockTimeout = 10 * time.Second

	retryDelay = 200 * time.Millisecond // between two attempts

	// After a read of less than smallRead, a FIFO is read again at the next multiple of
	// pollPeriod, together with the FIFOs of other tasks: for a task that writes line by
	// line, waking up costs more than moving the bytes. The pipe has room for the output
	// of one period. A task that fills it blocks at most once, since the next read is then
	// larger than smallRead.
	smallRead  = pipeBytes / 4
	pollPeriod = 20 * time.Millisecond
)

// stream moves bytes from one FIFO to its files until the last writer has closed it.
type stream struct {
	fifo  *os.File
	files files
	peek  [2]*os.File // a pipe to read the FIFO without consuming it; nil until needed
	tell  func(string)
	count *counters

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
	s.files.links.update(&s.files)
	for ended := false; !ended; {
		before := s.moved
		err := raw.Read(func(fd uintptr) bool {
			var err error
			if ended, err = s.move(int(fd)); errors.Is(err, unix.EAGAIN) {
				return false // wait for data
			}
			if s.shouldDrop(err) {
				ended = s.drop(int(fd))
			}
			return true
		})
		if err != nil {
			return
		}
		now := time.Now()
		s.files.links.retry(&s.files, now)
		time.Sleep(s.delay(s.moved-before, now))
	}
}

// delay returns the time until the next read after moving so many bytes.
func (s *stream) delay(moved int64, now time.Time) time.Duration {
	switch {
	case !s.failing.IsZero():
		return retryDelay
	case 0 < moved && moved < smallRead:
		return pollPeriod - time.Duration(now.UnixNano())%pollPeriod
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
	s.count.bytes.Add(moved)
	return moved == 0, nil
}

// moveLines fills a file up to the end of a line, and continues with the next file.
func (s *stream) moveLines(fifo int, space int64) (ended bool, err error) {
	if space <= 0 {
		return false, s.files.rotate()
	}
	text, err := s.content(fifo)
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
	// The end of the line has not arrived yet. Far from the end of the file the line will
	// fit; near the end it goes to the next file, unless this one is new.
	near := space <= min(lineLimit, maxBytes/4)
	if fits && !near || space == maxBytes || int64(len(text)) >= lineLimit {
		return int64(len(text))
	}
	return 0
}

// content copies the content of the FIFO without consuming it.
func (s *stream) content(fifo int) ([]byte, error) {
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

// shouldDrop reports whether to drop the content of the FIFO after an error of writing to the
// file. It returns true after blockTimeout, so that a full disk does not stop the task.
func (s *stream) shouldDrop(err error) (drop bool) {
	switch {
	case err == nil && s.failing.IsZero():
		return false
	case err == nil:
		s.tell(fmt.Sprintf("%s is writable again; %d bytes of output were dropped", s.files.base, s.dropped))
		s.failing, s.dropped = time.Time{}, 0
		return false
	case s.failing.IsZero():
		s.failing = time.Now()
		s.count.stalls.Add(1)
		s.tell(fmt.Sprintf("output for %s is blocked: %v", s.files.base, err))
	}
	return time.Since(s.failing) > blockTimeout
}

// drop discards the content of the FIFO.
func (s *stream) drop(fifo int) (ended bool) {
	n, err := unix.Read(fifo, make([]byte, pipeBytes))
	if err == nil {
		s.dropped += int64(n)
		s.count.dropped.Add(int64(n))
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
