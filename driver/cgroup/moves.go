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

// Moves prepares the kernel for moves of processes between groups. The zero value is
// ready to use.
//
// Each move takes a host-wide lock (cgroup_threadgroup_rwsem) that is cheap for forks and
// expensive for moves: the first move waits 10 ms or more for all processors, and one
// soon after it does not. Starting a task moves processes several times, some of them by
// the OCI runtime. While moves are expected, this process moves itself to its own group
// every few milliseconds, so that the wait happens in parallel. The mount option
// favordynmods (Linux 6.0) would have the same effect permanently.
type Moves struct {
	mu       sync.Mutex
	expected int
	none     chan struct{} // closed when no move is expected any more
}

// movesEvery is shorter than the time after which the kernel leaves the fast state.
const movesEvery = 3 * time.Millisecond

// Expect is called before moves, and done once after them.
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

// keepMoving opens the files for moveOnTheSpot. If that fails, starts take longer.
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

// moveOnTheSpot moves this process into its own group, as long as its groups do not
// change: if another process moves it, it stays there.
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

// readAgain reads an open /proc/PID/cgroup from its beginning.
func readAgain(own io.ReaderAt) (string, error) {
	var b [maxFile]byte
	n, err := own.ReadAt(b[:], 0)
	if err == nil || errors.Is(err, io.EOF) {
		return string(b[:n]), nil
	}
	return "", err
}

// procsFile returns the cgroup.procs of one of the groups in a /proc/PID/cgroup if this
// process is listed there. Any hierarchy will do, since they share the lock. In a cgroup
// namespace without its own mount the path refers to another group.
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
