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

// v1Placement are the v1 hierarchies that Add moves a process in: those that
// limit it, and the one by which systemd would count it to a unit.
var v1Placement = []string{"memory", "pids", "freezer", "cpu", "systemd"}

// Add moves a process into the group, which is made where it is missing.
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

// addTo moves a process into the group of one hierarchy, and makes it again
// where another removed it in between as empty.
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

// Procs lists the processes in the group and below it. A group that is not
// there has none.
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

// Of returns the path of the group that a process is in: on v1 and hybrid hosts
// in the freezer hierarchy, by which groups are killed.
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

// gone tells that a group went away while it was read.
func gone(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV)
}

// Kill kills every process in the group and below it, and returns when none
// is left or ctx ends.
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
		// There is no event for "empty" on v1, and on v2 one would have to
		// watch every child group: the wait is short, so it is polled.
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
	// Without cgroup.kill (v1, and v2 before Linux 5.14) a process could fork
	// between the listing and the signal, so the group is frozen for it.
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

// killsAtOnce bounds how many processes are held, each by a descriptor.
const killsAtOnce = 128

// killHeld kills the given processes that are still in the group while each is
// held: an id from an earlier list may belong to another process by now.
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
			continue // the next round gets it
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

// Remove removes the group with all below it from every hierarchy. It must be
// empty of processes. A group that is not there is no error.
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

// Prune removes the group where it is empty, and leaves it where it is not.
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

// refuseRoot keeps a path that was lost from meaning every process there is.
func (g Group) refuseRoot() error {
	if g.path == "/" || g.path == "" {
		return errors.New("cgroup: the root group can not be killed or removed")
	}
	return nil
}

// removeTree removes directories only: the files of a cgroup can not be
// unlinked and go with it.
func removeTree(dir string) error {
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

// removeDir waits a moment for a process that was killed but is not gone:
// until then the kernel says EBUSY.
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
