//go:build !unix && !windows

package cli

import "os"

// lockFile does nothing on systems without file locks.
func lockFile(*os.File) error { return nil }
