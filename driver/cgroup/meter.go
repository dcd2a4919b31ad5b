package cgroup

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Meter reads the Stats of a group repeatedly. It keeps the group's files open, since
// opening them takes several times as long as reading them. It opens nothing before the
// first reading. It is not safe for concurrent use.
//
// If nothing has run in the group since the last reading, it reads only the file that
// shows this, and the others occasionally, since the kernel may reclaim memory. A group
// that stays idle keeps only this one file open: a node has many groups, and each fork
// of this process copies its table of open files.
type Meter struct {
	group Group
	files []int // the first of the group's sources; -1 for files that this kernel lacks

	last  Stats
	lasts int // number of readings that last may be reused
}

// restReadings is the number of readings of an idle group after which all files are
// read again.
const restReadings = 12

// Meter returns a new meter, which the caller must close.
func (g Group) Meter() *Meter { return &Meter{group: g} }

// Stats reads the group's usage. The error wraps fs.ErrNotExist or ENODEV if the group
// does not exist.
func (m *Meter) Stats() (Stats, error) {
	s, err := m.stats()
	if err != nil {
		m.Close() // another group may be created at the same path
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
	// Idleness is unknown without the first file.
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

// read adds the values of a source. It opens the source if those before it are open.
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

// Close closes the files and discards the last reading. The meter may be used again.
func (m *Meter) Close() {
	m.keep(0)
	*m = Meter{group: m.group}
}

// keep closes all but the first n files.
func (m *Meter) keep(n int) {
	n = min(n, len(m.files))
	for _, fd := range m.files[n:] {
		if fd >= 0 {
			_ = unix.Close(fd) // opened read-only
		}
	}
	keptFiles.Add(-int64(len(m.files) - n))
	m.files = m.files[:n]
}

// keptFiles is the approximate number of files that all meters keep open.
var keptFiles atomic.Int64

// mayKeep is the limit of keptFiles: half of the process's limit. Above it, meters close
// their files after each reading.
var mayKeep = sync.OnceValue(func() int64 {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return int64(min(limit.Cur, 1<<20) / 2)
})
