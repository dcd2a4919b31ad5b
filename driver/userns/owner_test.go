package userns

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/shoenig/test/must"
)

// As must keep the right to write to directories of others, and restore the thread.
func TestAs(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := filepath.Join(t.TempDir(), "closed")
	must.NoError(t, os.Mkdir(dir, 0o700))
	owner := func(name string) uint32 {
		must.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o755))
		info, err := os.Stat(filepath.Join(dir, name))
		must.NoError(t, err)
		return info.Sys().(*syscall.Stat_t).Uid
	}
	must.Eq(t, 0, owner("before"))
	failed := errors.New("failed")
	must.ErrorIs(t, As(first, func() error {
		must.Eq(t, first, owner("inside"))
		return failed
	}), failed)
	must.Eq(t, 0, owner("after"))
}
