// Package leakcheck compares the machine before and after a test: a test fails if it leaves mounts,
// network namespaces, cgroups, files, processes, descriptors or goroutines behind.
//
// It only reads. It does not clean up and does not identify the creator of an entry: within a sandbox
// everything new belongs to the test; outside, Scope narrows it down.
package leakcheck

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testtimeout"
)

// Kinds of entries.
const (
	Mount      = "mount"
	Netns      = "network namespace"
	Cgroup     = "cgroup"
	File       = "file"
	Process    = "process"
	Descriptor = "descriptor"
	Goroutine  = "goroutine"
)

// Entry is one thing in use.
type Entry struct {
	Kind string
	Name string
}

func (e Entry) String() string { return e.Kind + " " + e.Name }

// Snapshot counts the entries in use at one time.
type Snapshot map[Entry]int

// Scope selects the entries to record in addition to mounts, network namespaces, and the
// descriptors and goroutines of this process, which are always recorded.
type Scope struct {
	// Dirs are directories in which every file counts, such as a driver's store and run
	// directory. A missing directory is empty.
	Dirs []string
	// Cgroups are the names of top-level cgroups of each hierarchy in which every directory
	// counts, such as "nomad".
	Cgroups []string
	// Programs are command names (of /proc/<pid>/comm, at most 15 bytes). Only their processes
	// count. Nil counts every process, which suits a sandbox. Descendants of this process
	// always count.
	Programs []string
}

// Snapshot records everything that is currently in use.
func (s Scope) Snapshot() (Snapshot, error) {
	snap := Snapshot{}
	looks := []func(Snapshot) error{
		s.mounts, s.netns, s.cgroups, s.files, s.processes, s.descriptors, s.goroutines,
	}
	for _, look := range looks {
		if err := look(snap); err != nil {
			return nil, err
		}
	}
	return snap, nil
}

// identity returns what stays the same about an entry. A process may execute another program, or
// get another parent, between two snapshots.
func (e Entry) identity() Entry {
	if e.Kind != Process {
		return e
	}
	name, rest, _ := strings.Cut(e.Name, ", child of ")
	if strings.Contains(rest, "): defunct ") {
		name += ", defunct"
	}
	return Entry{e.Kind, name}
}

// Diff lists the entries that occur more often in after than in before.
func Diff(before, after Snapshot) []Entry {
	known := Snapshot{}
	for entry, n := range before {
		known[entry.identity()] += n
	}
	var more []Entry
	for entry, n := range after {
		if n > known[entry.identity()] {
			more = append(more, entry)
		}
	}
	slices.SortFunc(more, func(a, b Entry) int {
		return strings.Compare(a.String(), b.String())
	})
	return more
}

// Settle waits until nothing more is in use than before. If ctx ends first, the error names
// the leaks.
func (s Scope) Settle(ctx context.Context, before Snapshot) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		after, err := s.Snapshot()
		if err != nil {
			return err
		}
		left := Diff(before, after)
		if len(left) == 0 {
			return nil
		}
		// A connection that a library dropped is closed by the garbage collector, so it is not
		// a growing leak.
		runtime.GC()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return leaks(left)
		}
	}
}

func leaks(left []Entry) error {
	errs := []error{fmt.Errorf("%d left behind", len(left))}
	for _, entry := range left {
		errs = append(errs, errors.New(entry.String()))
	}
	return errors.Join(errs...)
}

// SettleTime bounds the wait for processes, mounts and cgroups to disappear after a test. The
// wait is short if nothing is left.
func SettleTime() time.Duration { return testtimeout.Scale(15 * time.Second) }

// Check takes a snapshot, and when t and its later clean-ups are done, fails t for every new
// entry that does not disappear. Call it first.
func Check(t testing.TB, s Scope) {
	t.Helper()
	before, err := s.Snapshot()
	if err != nil {
		t.Fatalf("leak check: snapshot before the test: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), SettleTime())
		defer cancel()
		if err := s.Settle(ctx, before); err != nil {
			t.Errorf("leak check: %v", err)
		}
	})
}

// Driver selects everything that the driver and its helpers create on the machine.
func Driver() Scope {
	return Scope{
		Cgroups:  []string{"nomad", "nomad.slice", "nomad-driver-pod"},
		Programs: []string{"conmon", "runc", "crun", "runsc", "catatonit", "runc:[2:INIT]", "sleep", "sh", "nomad-pod-logs"},
	}
}
