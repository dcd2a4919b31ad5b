//go:build unix

package cli

import (
	"fmt"
	"os"
	"syscall"
)

// lockFile locks a file against other runs until it is closed.
func lockFile(f *os.File) error {
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("another run may be using it: %w", err)
	}
	return nil
}
