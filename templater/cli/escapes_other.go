//go:build !windows

package cli

import "os"

// escapes reports that terminals interpret escape sequences.
func escapes(*os.File) bool { return true }
