package leakcheck

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/procfs"
)

// SettleNamed waits until no mount, network namespace, cgroup, file or process has one of the
// names: IDs of allocations, or the directory of an agent. If ctx ends first, the error lists
// the entries. Tests that run at the same time check their own leaks with it.
func (s Scope) SettleNamed(ctx context.Context, names ...string) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		left, err := s.named(names)
		if err != nil || len(left) == 0 {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return leaks(left)
		}
	}
}

func (s Scope) named(names []string) ([]Entry, error) {
	has := func(text string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return strings.Contains(text, name) })
	}
	snap := Snapshot{}
	for _, look := range []func(Snapshot) error{s.mounts, s.netns, s.cgroups, s.files} {
		if err := look(snap); err != nil {
			return nil, err
		}
	}
	for entry := range snap {
		if !has(entry.Name) {
			delete(snap, entry)
		}
	}
	if err := namedProcesses(snap, has); err != nil {
		return nil, err
	}
	return Diff(nil, snap), nil
}

// namedProcesses records the processes with a name in their command line, environment or cgroup.
// A defunct process has only the cgroup.
func namedProcesses(snap Snapshot, has func(string) bool) error {
	all, err := procfs.AllProcs()
	if err != nil {
		return fmt.Errorf("read processes: %w", err)
	}
	self := os.Getpid()
	for _, p := range all {
		stat, err := p.Stat()
		if err != nil || p.PID == self { // it has exited
			continue
		}
		for _, file := range []string{"cmdline", "environ", "cgroup"} {
			text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.PID, file))
			if has(string(text)) {
				snap[Entry{Process, describe(stat)}]++
				break
			}
		}
	}
	return nil
}
