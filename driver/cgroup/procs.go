package cgroup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// v1Placement lists the v1 hierarchies that Add uses: those with limits, and the one by
// which systemd assigns processes to units.
var v1Placement = []string{"memory", "pids", "freezer", "cpu", "systemd"}

// Add moves a process into the group and creates the group if necessary.
func (g Group) Add(pid int) error {
	dirs := []string{filepath.Join(Root, g.path)}
	if g.version != V2 {
		dirs = dirs[:0]
		for _, c := range v1Placement {
			if _, err := os.Stat(filepath.Join(Root, c)); err == nil {
				dirs = append(dirs, filepath.Join(Root, c, g.path))
			}
		}
	}
	for _, dir := range dirs {
		if err := addTo(dir, pid); err != nil {
			return fmt.Errorf("move process %d to cgroup %s: %w", pid, dir, err)
		}
	}
	return nil
}

// addTo moves a process into the group of one hierarchy. It creates the group again if
// another process removed it meanwhile as empty.
func addTo(dir string, pid int) error {
	const tries = 10
	var err error
	for range tries {
		if err = os.MkdirAll(dir, 0o755); err == nil {
			err = os.WriteFile(filepath.Join(dir, "cgroup.procs"), strconv.AppendInt(nil, int64(pid), 10), 0o644)
		}
		if !gone(err) {
			break
		}
	}
	return err
}

// Procs lists the processes in the group and below it. A group that does not exist has
// none.
func (g Group) Procs() ([]int, error) {
	return procsBelow(g.killDir())
}

func procsBelow(dir string) ([]int, error) {
	var pids []int
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if gone(err) {
			return nil
		}
		if err != nil || !d.IsDir() {
			return err
		}
		b, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		if gone(err) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, f := range bytes.Fields(b) {
			pid, err := strconv.Atoi(string(f))
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			pids = append(pids, pid)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list processes of cgroup %s: %w", dir, err)
	}
	return pids, nil
}

// Of returns the path of a process's group: on v1 and hybrid hosts in the freezer
// hierarchy, which Kill uses.
func Of(v Version, pid int) (string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) { // NUMBER:HIERARCHIES:PATH
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) == 3 && (v == V2 && parts[0] == "0" || v != V2 && slices.Contains(strings.Split(parts[1], ","), "freezer")) {
			return parts[2], nil
		}
	}
	return "", fmt.Errorf("process %d is in no cgroup", pid)
}

// gone reports whether a group was removed while it was read.
func gone(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV)
}

// Kill kills every process in the group and below it. It returns when none is left or
// ctx ends.
func (g Group) Kill(ctx context.Context) error {
	if err := g.refuseRoot(); err != nil {
		return err
	}
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		pids, err := g.Procs()
		if err != nil || len(pids) == 0 {
			return err
		}
		if err := g.killOnce(pids); err != nil {
			return err
		}
		// v1 has no event for an empty group, and on v2 every child group would need a watch.
		// The wait is short, so it is polled.
		select {
		case <-ctx.Done():
			return fmt.Errorf("cgroup %s: processes %v did not end after SIGKILL: %w", g.path, pids, ctx.Err())
		case <-tick.C:
		}
	}
}

func (g Group) killOnce(pids []int) error {
	if g.version == V2 {
		err := os.WriteFile(filepath.Join(g.killDir(), "cgroup.kill"), []byte("1"), 0o644)
		if err == nil || !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	// Without cgroup.kill (v1, and v2 before Linux 5.14) a process could fork between
	// listing and signal, so the group is frozen meanwhile.
	thaw := g.freeze()
	defer thaw()
	frozen, err := g.Procs()
	if err != nil {
		return err
	}
	for some := range slices.Chunk(frozen, killsAtOnce) {
		if err := g.killHeld(some); err != nil {
			return err
		}
	}
	return nil
}

// killsAtOnce bounds the number of descriptors for processes.
const killsAtOnce = 128

// killHeld kills the given processes that are still in the group, each held by a
// descriptor, since a PID may have been reused after the listing.
func (g Group) killHeld(pids []int) error {
	held := map[int]*os.Process{}
	defer func() {
		for _, p := range held {
			_ = p.Release()
		}
	}()
	for _, pid := range pids {
		p, err := os.FindProcess(pid)
		if err != nil {
			return fmt.Errorf("hold process %d of cgroup %s: %w", pid, g.path, err)
		}
		held[pid] = p
	}
	members, err := g.Procs()
	if err != nil {
		return err
	}
	for _, pid := range members {
		p := held[pid]
		if p == nil {
			continue // the next round kills it
		}
		if err := p.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("kill process %d of cgroup %s: %w", pid, g.path, err)
		}
	}
	return nil
}

func (g Group) freeze() (thaw func()) {
	file, on, off := "freezer.state", "FROZEN", "THAWED"
	if g.version == V2 {
		file, on, off = "cgroup.freeze", "1", "0"
	}
	path := filepath.Join(g.killDir(), file)
	_ = os.WriteFile(path, []byte(on), 0o644)
	return func() { _ = os.WriteFile(path, []byte(off), 0o644) }
}

// Remove removes the group and all groups below it from every hierarchy. They must have
// no processes. A group that does not exist is no error.
func (g Group) Remove() error {
	if err := g.refuseRoot(); err != nil {
		return err
	}
	dirs, err := g.dirs()
	if err != nil {
		return err
	}
	var errs []error
	for _, dir := range dirs {
		errs = append(errs, removeTree(dir))
	}
	return errors.Join(errs...)
}

// Prune removes the group if it is empty.
func (g Group) Prune() error {
	dirs, err := g.dirs()
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		err := unix.Rmdir(dir)
		if err != nil && !gone(err) && !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.ENOTEMPTY) {
			return fmt.Errorf("remove cgroup %s: %w", dir, err)
		}
	}
	return nil
}

// refuseRoot rejects an empty path, which would mean every process of the host.
func (g Group) refuseRoot() error {
	if g.path == "/" || g.path == "" {
		return errors.New("cgroup: the root group cannot be killed or removed")
	}
	return nil
}

// removeTree removes the directories of a cgroup. The files of a cgroup cannot be unlinked. crun
// creates ordinary directories and files at Root/unified if the v2 tree was unmounted there.
func removeTree(dir string) error {
	if !isType(dir, unix.CGROUP_SUPER_MAGIC) && !isType(dir, unix.CGROUP2_SUPER_MAGIC) {
		return os.RemoveAll(dir)
	}
	var below []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if gone(err) {
			return nil
		}
		if err == nil && d.IsDir() {
			below = append(below, path)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("remove cgroup %s: %w", dir, err)
	}
	for _, path := range slices.Backward(below) {
		if err := removeDir(path); err != nil {
			return fmt.Errorf("remove cgroup %s: %w", path, err)
		}
	}
	return nil
}

// removeDir retries for a moment while a killed process is still exiting, since the
// kernel returns EBUSY until then.
func removeDir(path string) error {
	deadline := time.Now().Add(2 * time.Second)
	for {
		err := unix.Rmdir(path)
		if err == nil || gone(err) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return err
		}
		time.Sleep(2 * time.Millisecond)
	}
}
