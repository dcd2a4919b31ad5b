package cli

import (
	"fmt"
	"math"
	"os"

	"golang.org/x/sys/windows"
)

// lockFile locks a file against other runs until it is closed.
func lockFile(f *os.File) error {
	err := windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY,
		0, math.MaxUint32, math.MaxUint32, &windows.Overlapped{})
	if err != nil {
		return fmt.Errorf("another run may be using it: %w", err)
	}
	return nil
}
