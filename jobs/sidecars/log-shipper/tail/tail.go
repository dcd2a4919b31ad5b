// Package tail follows the log files of an allocation's tasks as Nomad writes and
// rotates them: <task>.<stream>.<number>, where only the file with
// the highest number grows and those with the lowest are removed
// (client/logmon/logging in Nomad's source).
//
// It stores nothing: each line carries the place where it ends, and the caller can
// resume from that place. It polls, since inotify does not report missed events.
package tail

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Stream is one output of one task.
type Stream struct {
	Task string
	Name string // "stdout" or "stderr"
}

func (s Stream) String() string { return s.Task + "." + s.Name }

// Place is a position between two lines, or two pieces of a long one. A file is
// identified by its number and inode, since the number is reused if the
// directory is cleared.
type Place struct {
	File   int    `json:"file"`
	Inode  uint64 `json:"inode"`
	Offset int64  `json:"offset"` // bytes
}

// Line is a line without its line feed, or a piece of one.
type Line struct {
	Stream
	Text []byte
	// Partial means that the next Line of the stream continues this one.
	Partial bool
	End     Place
}

// Options configure a Tail. MaxLineBytes and Lost are required.
type Options struct {
	Wanted       func(Stream) bool // nil: all
	From         map[Stream]Place  // where to resume; other streams begin at their oldest file
	MaxLineBytes int               // longer lines are split into pieces
	// Lost is called with a description of data that could not be read.
	Lost func(stream Stream, what string)
}

// Tail follows the log files of a directory. It is not safe for concurrent use.
type Tail struct {
	root      *os.Root
	options   Options
	followers map[Stream]*follower
	turn      int // the stream that is read first
}

// Open starts to follow an existing directory.
func Open(dir string, o Options) (*Tail, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the directory of logs: %w", err)
	}
	t := &Tail{root: root, options: o, followers: map[Stream]*follower{}}
	for stream, place := range o.From {
		if t.wanted(stream) {
			t.followers[stream] = newFollower(t, stream, place)
		}
	}
	return t, nil
}

// Close closes all open files.
func (t *Tail) Close() error {
	errs := []error{t.root.Close()}
	for _, f := range t.followers {
		errs = append(errs, f.close())
	}
	return errors.Join(errs...)
}

func (t *Tail) wanted(s Stream) bool { return t.options.Wanted == nil || t.options.Wanted(s) }

// Read passes all complete lines to take, stream by stream and in order within each. It
// stops when take returns false. Text is valid only until take returns.
func (t *Tail) Read(take func(Line) bool) error {
	files, err := t.list()
	if err != nil {
		return err
	}
	streams := t.streams(files)
	// Rotate the first stream, so that a busy one does not starve the others.
	first := t.turn
	t.turn++
	for i := range streams {
		f := t.followers[streams[(first+i)%len(streams)]]
		more, err := f.read(files[f.stream], take)
		if err != nil {
			return fmt.Errorf("read the logs of %s: %w", f.stream, err)
		}
		if !more {
			return nil
		}
	}
	return nil
}

// Rest passes incomplete lines to take, for use at the end of the data. Later data
// continues them.
func (t *Tail) Rest(take func(Line) bool) {
	for _, stream := range t.streams(nil) {
		if line, ok := t.followers[stream].rest(); ok && !take(line) {
			return
		}
	}
}

// streams returns the followed streams and new ones in files, sorted.
func (t *Tail) streams(files map[Stream][]file) []Stream {
	for stream := range files {
		if t.followers[stream] == nil {
			t.followers[stream] = newFollower(t, stream, Place{})
		}
	}
	return slices.SortedFunc(maps.Keys(t.followers), func(a, b Stream) int {
		return cmp.Or(cmp.Compare(a.Task, b.Task), cmp.Compare(a.Name, b.Name))
	})
}

// file is one log file of a stream.
type file struct {
	name   string
	number int
	inode  uint64
}

// list returns the files of each wanted stream, sorted by number. It ignores other
// directory entries, such as the FIFOs of Nomad.
func (t *Tail) list() (map[Stream][]file, error) {
	entries, err := fs.ReadDir(t.root.FS(), ".")
	if err != nil {
		return nil, fmt.Errorf("list the logs: %w", err)
	}
	files := map[Stream][]file{}
	for _, entry := range entries {
		stream, number, ok := parse(entry.Name())
		if !ok || !entry.Type().IsRegular() || !t.wanted(stream) {
			continue
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("stat the logs: %w", err)
		}
		files[stream] = append(files[stream], file{entry.Name(), number, inode(info)})
	}
	for _, list := range files {
		slices.SortFunc(list, func(a, b file) int { return cmp.Compare(a.number, b.number) })
	}
	return files, nil
}

// parse splits a file name from its end, since a task may be called "a.stdout.1".
func parse(name string) (stream Stream, number int, ok bool) {
	rest, digits, found := cutLast(name)
	// Nomad writes numbers without a sign and without leading zeros.
	number, err := strconv.Atoi(digits)
	if !found || err != nil || number < 0 || strconv.Itoa(number) != digits {
		return Stream{}, 0, false
	}
	task, kind, found := cutLast(rest)
	if !found || task == "" || kind != "stdout" && kind != "stderr" {
		return Stream{}, 0, false
	}
	return Stream{task, kind}, number, true
}

func cutLast(s string) (before, after string, found bool) {
	i := strings.LastIndexByte(s, '.')
	if i < 0 {
		return "", "", false
	}
	return s[:i], s[i+1:], true
}

func inode(info fs.FileInfo) uint64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Ino
	}
	return 0
}
