package tail

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
)

// chunkBytes is how much is read at once; with a line's bound it bounds what
// a stream has in memory.
const chunkBytes = 64 << 10

// follower reads one stream.
type follower struct {
	tail   *Tail
	stream Stream

	file *os.File // nil until there is one
	next Place    // of the byte that is read next
	// buffer is what was read and not handed out. Of its bytes only those of
	// the file that is open can be told a place for; that is enough, since a
	// line that is handed out ends there.
	buffer []byte
}

func newFollower(t *Tail, s Stream, from Place) *follower {
	return &follower{tail: t, stream: s, next: from}
}

func (f *follower) close() error {
	if f.file == nil {
		return nil
	}
	err := f.file.Close()
	f.file = nil
	return err
}

// read hands out lines until there are no more, true, or take has enough,
// false. The list of files was made before: the end of a file that had a
// successor then is final.
func (f *follower) read(files []file, take func(Line) bool) (more bool, err error) {
	for {
		for line, ok := f.line(); ok; line, ok = f.line() {
			if !take(line) {
				return false, nil
			}
		}
		if f.file == nil {
			if opened, err := f.resume(files); err != nil || !opened {
				return true, err
			}
		}
		n, err := f.fill()
		if err != nil {
			return true, err
		}
		if n > 0 {
			continue
		}
		if on, err := f.turnPage(files); err != nil || !on {
			return true, err
		}
	}
}

// line takes a line off the buffer, or a piece where a line is too long.
func (f *follower) line() (Line, bool) {
	limit := f.tail.options.MaxLineBytes
	n := bytes.IndexByte(f.buffer, '\n')
	switch {
	case n >= 0 && n <= limit:
		return f.take(n, 1), true
	case len(f.buffer) > limit:
		return f.take(limit, 0), true
	}
	return Line{}, false
}

// rest takes what is left, as a piece.
func (f *follower) rest() (Line, bool) {
	if len(f.buffer) == 0 {
		return Line{}, false
	}
	return f.take(len(f.buffer), 0), true
}

// take takes n bytes and the end of the line, 1 byte or none.
func (f *follower) take(n, end int) Line {
	text := f.buffer[:n]
	f.buffer = f.buffer[n+end:]
	place := f.next
	place.Offset -= int64(len(f.buffer))
	return Line{Stream: f.stream, Text: text, Partial: end == 0, End: place}
}

// fill reads on. 0 bytes are the end of the file as it is now.
func (f *follower) fill() (int, error) {
	kept := len(f.buffer)
	f.buffer = slices.Grow(f.buffer, chunkBytes)
	n, err := f.file.ReadAt(f.buffer[kept:kept+chunkBytes], f.next.Offset)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	f.buffer = f.buffer[:kept+n]
	f.next.Offset += int64(n)
	return n, err
}

// turnPage looks at why a file has ended, and tells whether to read on: it was
// truncated, there is another one, or all was read.
func (f *follower) turnPage(files []file) (on bool, err error) {
	info, err := f.file.Stat()
	if err != nil {
		return false, err
	}
	if info.Size() < f.next.Offset {
		f.tail.options.Lost(f.stream, fmt.Sprintf("file %d shrank from %d to %d bytes: read again from its beginning", f.next.File, f.next.Offset, info.Size()))
		f.next.Offset = 0
		f.endLine()
		return true, nil
	}
	if info.Size() > f.next.Offset { // it grew just now
		return true, nil
	}
	for _, file := range files {
		if file.number > f.next.File {
			gap := ""
			if file.number > f.next.File+1 {
				gap = removed(f.next.File+1, file.number-1)
			}
			return f.open(file, 0, gap)
		}
		if file.number == f.next.File && file.inode != f.next.Inode {
			return f.open(file, 0, otherFile(file))
		}
	}
	if n := len(files); n > 0 && files[n-1].number < f.next.File {
		return f.open(files[0], 0, numberedAnew)
	}
	return false, nil
}

// endLine ends the line that has begun, because what comes next does not
// belong to it.
func (f *follower) endLine() {
	if len(f.buffer) > 0 {
		f.buffer = append(f.buffer, '\n')
	}
}

// resume opens the file where reading goes on, if there is one. An inode of 0
// stands for a stream of which nothing was read.
func (f *follower) resume(files []file) (bool, error) {
	if len(files) == 0 {
		return false, nil
	}
	first := files[0]
	if f.next.Inode == 0 {
		gap := ""
		if first.number > 0 {
			gap = removed(0, first.number-1)
		}
		return f.open(first, 0, gap)
	}
	for _, file := range files {
		switch {
		case file.number < f.next.File:
		case file.number > f.next.File:
			return f.open(file, 0, removed(f.next.File, file.number-1)+", unless it had been read to its end")
		case file.inode == f.next.Inode:
			return f.open(file, f.next.Offset, "")
		default:
			return f.open(file, 0, otherFile(file))
		}
	}
	return f.open(first, 0, numberedAnew)
}

const numberedAnew = "the numbers of the files begin anew: read from the oldest one"

func otherFile(f file) string {
	return fmt.Sprintf("file %d is another one now: read from its beginning", f.number)
}

func removed(from, to int) string {
	if from == to {
		return fmt.Sprintf("file %d was removed before it was read", from)
	}
	return fmt.Sprintf("files %d to %d were removed before they were read", from, to)
}

// open goes on at an offset of another file, and says what was lost before it;
// nothing was where the other one goes on with the same line. The one before stays open until then, so that its rest can be read even when
// Nomad has removed it. A file that is gone by now is left to the next list.
func (f *follower) open(next file, offset int64, lost string) (bool, error) {
	opened, err := f.tail.root.Open(next.name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	info, err := opened.Stat()
	if err != nil {
		return false, errors.Join(err, opened.Close())
	}
	if lost != "" {
		f.tail.options.Lost(f.stream, lost)
		f.endLine()
	}
	err = f.close()
	f.file, f.next = opened, Place{File: next.number, Inode: inode(info), Offset: offset}
	return true, err
}
