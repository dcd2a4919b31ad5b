// Package ledger notes what of the machine is in use — mounts, network
// namespaces, cgroups, files, processes, descriptors, goroutines — so that a
// test can show that it left nothing behind.
//
// It only looks. It neither cleans up nor knows who made an entry: within a
// sandbox everything new is the test's; outside, Scope narrows it down.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nomad-sidecar/nomad-sidecar/test/patience"
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

// Snapshot is what was in use at one time, and how often.
type Snapshot map[Entry]int

// Scope says what to look at beside mounts, network namespaces, and the
// descriptors and goroutines of this process, which are always noted.
type Scope struct {
	// Dirs are directories in which every file counts, such as a driver's
	// store and run directory. One that is not there holds nothing.
	Dirs []string
	// Cgroups are the names of top-level cgroups below each hierarchy in
	// which every directory counts, such as "nomad".
	Cgroups []string
	// Programs are the command names (of /proc/<pid>/comm, at most 15 bytes)
	// whose processes count. Nil counts every process, as fits a sandbox.
	// Descendants of this process always count.
	Programs []string
}

// Snapshot notes what is in use now.
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

// Diff lists what is in use after and was not before, or less often.
func Diff(before, after Snapshot) []Entry {
	var more []Entry
	for entry, n := range after {
		if n > before[entry] {
			more = append(more, entry)
		}
	}
	slices.SortFunc(more, func(a, b Entry) int {
		return strings.Compare(a.String(), b.String())
	})
	return more
}

// Settle waits until nothing more is in use than before. When ctx ends first,
// the error names what is left.
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
		// A connection that a library has forgotten is closed when it is
		// collected, so it is no leak that grows.
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

// SettleTime bounds the wait for the end of processes, mounts and cgroups after
// a test: short if nothing is left, and bounded if something is.
func SettleTime() time.Duration { return patience.For(15 * time.Second) }

// Check notes what is in use, and when t and its later clean-ups are done,
// fails t for whatever came in addition and does not go. Call it first.
func Check(t testing.TB, s Scope) {
	t.Helper()
	before, err := s.Snapshot()
	if err != nil {
		t.Fatalf("ledger before: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), SettleTime())
		defer cancel()
		if err := s.Settle(ctx, before); err != nil {
			t.Errorf("ledger: %v", err)
		}
	})
}
