package cgroup

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Moves keeps the kernel prepared to move processes between groups while some
// are expected. The zero value is ready.
//
// Each move takes a lock of the whole host (cgroup_threadgroup_rwsem) that is
// cheap for those who fork, and dear for those who move: the first move waits
// for all processors to take note, 10 ms and more, and one soon after it does
// not. Starting a task moves processes several times, some of them from the
// OCI runtime, and waits as often. Meanwhile a move of this process to where it
// is, every few milliseconds, has the waiting done beside the start. The mount
// option favordynmods (Linux 6.0) would do the same for ever.
type Moves struct {
	mu       sync.Mutex
	expected int
	none     chan struct{} // closed when none is expected any more
}

// movesEvery is less than the time after which the kernel forgets a move.
const movesEvery = 3 * time.Millisecond

// Expect is called before moves; done after them, once.
func (m *Moves) Expect() (done func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.expected++; m.expected == 1 {
		m.none = make(chan struct{})
		go keepMoving(m.none)
	}
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.expected--; m.expected == 0 {
			close(m.none)
		}
	}
}

// keepMoving opens what moveOnTheSpot needs. Where that can not be, starts take
// longer.
func keepMoving(until <-chan struct{}) {
	own, err := os.Open("/proc/self/cgroup")
	if err != nil {
		return
	}
	defer own.Close()
	groups, err := readAgain(own)
	if err != nil {
		return
	}
	procs, err := os.OpenFile(procsFile(groups), os.O_WRONLY, 0)
	if err != nil {
		return
	}
	defer procs.Close()
	moveOnTheSpot(groups, own, procs, until)
}

// moveOnTheSpot moves this process into the group where it is, as long as it is
// in the groups that it was: where somebody else moved it, there it stays.
func moveOnTheSpot(was string, own io.ReaderAt, procs io.Writer, until <-chan struct{}) {
	self := strconv.AppendInt(nil, int64(os.Getpid()), 10)
	tick := time.NewTicker(movesEvery)
	defer tick.Stop()
	for {
		if is, err := readAgain(own); err != nil || is != was {
			return
		}
		if _, err := procs.Write(self); err != nil {
			return
		}
		select {
		case <-until:
			return
		case <-tick.C:
		}
	}
}

// readAgain reads a /proc/PID/cgroup that is open.
func readAgain(own io.ReaderAt) (string, error) {
	var b [maxFile]byte
	n, err := own.ReadAt(b[:], 0)
	if err == nil || errors.Is(err, io.EOF) {
		return string(b[:n]), nil
	}
	return "", err
}

// procsFile is the list of processes of one of the groups in the content of a
// /proc/PID/cgroup, if this process is in it: the lock is the same for every
// hierarchy. In a cgroup namespace without a mount of its own the path means
// another group.
func procsFile(groups string) string {
	self := strconv.Itoa(os.Getpid())
	for line := range strings.Lines(groups) {
		// hierarchy:controllers:path, see cgroups(7)
		_, line, _ = strings.Cut(strings.TrimSpace(line), ":")
		controllers, path, _ := strings.Cut(line, ":")
		file := filepath.Join(Root, strings.TrimPrefix(controllers, "name="), path, "cgroup.procs")
		listed, err := os.ReadFile(file)
		if err == nil && slices.Contains(strings.Fields(string(listed)), self) {
			return file
		}
	}
	return ""
}
