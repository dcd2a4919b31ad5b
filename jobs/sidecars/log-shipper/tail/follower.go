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

// chunkBytes is the read size. Together with the line limit it bounds the memory of
// a stream.
const chunkBytes = 64 << 10

// follower reads one stream.
type follower struct {
	tail   *Tail
	stream Stream

	file *os.File // nil if none is open
	next Place    // of the next byte to read
	// buffer holds bytes that were read and not yet returned. Places are known only
	// for bytes of the open file, which suffices since every returned line ends
	// there.
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

// read passes lines to take until there are none left (true) or take returns
// false (false). The list of files is older than the read, so the end of a file
// that has a successor is final.
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

// line removes a line from the buffer, or a piece if the line is too long.
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

// rest removes the remaining bytes as a piece.
func (f *follower) rest() (Line, bool) {
	if len(f.buffer) == 0 {
		return Line{}, false
	}
	return f.take(len(f.buffer), 0), true
}

// take removes n bytes and a line end of 0 or 1 byte.
func (f *follower) take(n, end int) Line {
	text := f.buffer[:n]
	f.buffer = f.buffer[n+end:]
	place := f.next
	place.Offset -= int64(len(f.buffer))
	return Line{Stream: f.stream, Text: text, Partial: end == 0, End: place}
}

// fill reads more bytes. 0 means the current end of the file.
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

// turnPage handles the end of a file, which was truncated, has a successor, or is
// still growing. It reports whether to continue reading.
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
	if info.Size() > f.next.Offset { // it has just grown
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

// endLine ends a partial line if the following bytes do not belong to it.
func (f *follower) endLine() {
	if len(f.buffer) > 0 {
		f.buffer = append(f.buffer, '\n')
	}
}

// resume opens the file of the last place if it exists. Inode 0 stands for a stream
// that has not been read yet.
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

const numberedAnew = "the file numbers start again: read from the oldest file"

func otherFile(f file) string {
	return fmt.Sprintf("file %d was replaced: read from its beginning", f.number)
}

func removed(from, to int) string {
	if from == to {
		return fmt.Sprintf("file %d was removed before it was read", from)
	}
	return fmt.Sprintf("files %d to %d were removed before they were read", from, to)
}

// open continues at an offset of the next file and reports lost data; lost is empty
// if the next file continues the same line. The previous file stays open until
// then, so that its rest can be read even after Nomad has removed it. If next no
// longer exists, the next list handles it.
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
