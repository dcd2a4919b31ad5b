//go:build !unix

package catalog

import "os/exec"

// alone does nothing on systems without sessions.
func alone(*exec.Cmd) {}
