// Package userns records which pod has which range of user and group ids, and makes mounts that
// translate the owners of files to such a range.
//
// It creates no namespaces, and does not know which pods exist.
package userns

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Size is the number of ids of a range: as many as images use.
const Size = 1 << 16

// ErrExhausted reports that other pods have all ranges of the pool.
var ErrExhausted = errors.New("no free range of ids")

// Range is the first of Size ids of the host that a pod's user namespace maps to 0 and up.
type Range struct {
	First uint32 `json:"first"`
}

// overlaps reports whether two ranges have an id in common.
func (r Range) overlaps(other Range) bool {
	return int64(r.First) < int64(other.First)+Size && int64(other.First) < int64(r.First)+Size
}

// Pool hands out ranges. Each is recorded in Dir until it is released: a symbolic link, named by
// the first id, to the name of its owner. The kernel creates a link with its content, or not at all, so
// that a crash leaves no half of a record. Several processes may use one directory.
type Pool struct {
	Dir string
	// First and Count are the ids that ranges are taken from. Without Count there are none.
	First, Count uint32
}

// Ranges returns how many ranges the pool has.
func (p Pool) Ranges() int { return int(p.Count / Size) }

// record is an entry of the directory. owner is empty if the record is damaged.
type record struct {
	Range
	owner string
}

// Claim returns the range of an owner, and records a free one if it has none. The error is
// ErrExhausted if there is no free one. A damaged record keeps its range from being used.
func (p Pool) Claim(owner string) (Range, error) {
	var got Range
	err := p.locked(func(records []record) error {
		for _, r := range records {
			if r.owner == owner {
				got = r.Range
				return nil
			}
		}
		for i := range p.Ranges() {
			next := Range{p.First + uint32(i)*Size}
			if !taken(next, records) {
				got = next
				return os.Symlink(owner, p.path(next))
			}
		}
		return fmt.Errorf("%w: all %d ranges of the pool are in use", ErrExhausted, p.Ranges())
	})
	return got, err
}

// Keep records the range of an owner again if its record is damaged or gone. It returns an error if
// another owner has an id of the range.
func (p Pool) Keep(owner string, r Range) error {
	return p.locked(func(records []record) error {
		for _, other := range records {
			switch {
			case other.Range == r && other.owner == owner:
				return nil
			case other.owner != "" && other.owner != owner && other.overlaps(r):
				return fmt.Errorf("ids from %d on belong to %s too", r.First, other.owner)
			}
		}
		if err := os.RemoveAll(p.path(r)); err != nil {
			return err
		}
		return os.Symlink(owner, p.path(r))
	})
}

// Release ends the record of an owner, if there is one.
func (p Pool) Release(owner string) error {
	return p.Sweep(func(r Range, of string) bool { return of != owner })
}

// Sweep ends the records that are not in use. It asks for each: the owner is empty if the record is
// damaged.
func (p Pool) Sweep(inUse func(r Range, owner string) bool) error {
	if _, err := os.Lstat(p.Dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return p.locked(func(records []record) error {
		var errs []error
		for _, r := range records {
			if !inUse(r.Range, r.owner) {
				errs = append(errs, os.RemoveAll(p.path(r.Range)))
			}
		}
		return errors.Join(errs...)
	})
}

func taken(r Range, records []record) bool {
	for _, other := range records {
		if other.overlaps(r) {
			return true
		}
	}
	return false
}

func (p Pool) path(r Range) string {
	return filepath.Join(p.Dir, strconv.FormatUint(uint64(r.First), 10))
}

// locked calls f with all records while no other process changes them.
func (p Pool) locked(f func([]record) error) error {
	if err := os.MkdirAll(p.Dir, 0o700); err != nil {
		return fmt.Errorf("ranges of ids: %w", err)
	}
	dir, err := os.Open(p.Dir)
	if err != nil {
		return fmt.Errorf("ranges of ids: %w", err)
	}
	defer dir.Close() // ends the lock
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", p.Dir, err)
	}
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("ranges of ids: %w", err)
	}
	var records []record
	for _, name := range names {
		first, err := strconv.ParseUint(name, 10, 32)
		if err != nil || strconv.FormatUint(first, 10) != name {
			continue // not ours
		}
		owner, err := os.Readlink(filepath.Join(p.Dir, name))
		if err != nil {
			owner = ""
		}
		records = append(records, record{Range{uint32(first)}, owner})
	}
	if err := f(records); err != nil {
		return fmt.Errorf("ranges of ids in %s: %w", p.Dir, err)
	}
	return nil
}
