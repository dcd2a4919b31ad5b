package cgroup

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Meter reads the Stats of a group time and again. It keeps the group's files
// open: to open them takes several times as long as to read them. Nothing is
// opened before the first reading. It is for one goroutine at a time.
//
// Of a group in which nothing has run since the last reading it reads no more
// than that, but now and then: only the kernel can have changed what is left,
// by reclaiming memory. Of a group that is at rest for so long it keeps only
// the one file open that tells it: a node has many, and whenever this process
// starts another, the kernel copies the list of what it has open.
type Meter struct {
	group Group
	files []int // the first of the group's sources; -1 is one that this kernel does not have

	last  Stats
	lasts int // for how many readings last may stand
}

// restReadings is after how many readings of a group in which nothing runs all
// of it is read.
const restReadings = 12

// Meter returns a new one, which the caller closes.
func (g Group) Meter() *Meter { return &Meter{group: g} }

// Stats reads the group's use. The error wraps fs.ErrNotExist or ENODEV where
// there is no such group.
func (m *Meter) Stats() (Stats, error) {
	s, err := m.stats()
	if err != nil {
		m.Close() // another group may be made at the same path
		return Stats{}, fmt.Errorf("stats of cgroup %s: %w", m.group.path, err)
	}
	if keptFiles.Load() > mayKeep() {
		m.keep(0)
	}
	return s, nil
}

func (m *Meter) stats() (Stats, error) {
	sources := m.group.sources()
	again := len(m.files) > 0
	var s Stats
	if err := m.read(0, sources[0], &s); err != nil {
		return Stats{}, err
	}
	// Without the first file nothing tells.
	idle := again && m.files[0] >= 0 && s.CPU.TotalNanos == m.last.CPU.TotalNanos
	if idle && m.lasts > 0 {
		m.lasts--
		return m.last, nil
	}
	found := m.files[0] >= 0
	for i, src := range sources[1:] {
		if err := m.read(1+i, src, &s); err != nil {
			return Stats{}, err
		}
		found = found || m.files[1+i] >= 0
	}
	if !found {
		return Stats{}, os.ErrNotExist
	}
	m.last, m.lasts = s, restReadings-1
	if idle {
		m.keep(1)
	}
	return s, nil
}

// read adds what is in a source, which it opens if those before it are open and
// it is not.
func (m *Meter) read(i int, src source, s *Stats) error {
	if i == len(m.files) {
		fd, err := unix.Open(m.group.file(src), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.ENOENT) {
			fd = -1
		} else if err != nil {
			return fmt.Errorf("open %s: %w", src.name, err)
		}
		m.files = append(m.files, fd)
		keptFiles.Add(1)
	}
	if m.files[i] < 0 {
		return nil
	}
	if err := src.read(m.files[i], s); err != nil {
		return fmt.Errorf("%s: %w", src.name, err)
	}
	return nil
}

// Close lets go of the files and of what was read. A reading after that begins
// anew.
func (m *Meter) Close() {
	m.keep(0)
	*m = Meter{group: m.group}
}

// keep closes all but the first n files.
func (m *Meter) keep(n int) {
	n = min(n, len(m.files))
	for _, fd := range m.files[n:] {
		if fd >= 0 {
			_ = unix.Close(fd) // nothing was written
		}
	}
	keptFiles.Add(-int64(len(m.files) - n))
	m.files = m.files[:n]
}

// keptFiles counts the files that all meters keep open, or nearly.
var keptFiles atomic.Int64

// mayKeep is how many those may be: half of what the process may open. While
// there are more, a meter that was read keeps none.
var mayKeep = sync.OnceValue(func() int64 {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return int64(min(limit.Cur, 1<<20) / 2)
})
