package driver_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
)

// TestSeccomp_Errors checks that system calls denied on purpose fail with EPERM and unknown ones
// with ENOSYS, for the first container, which compiles the filter, and for one that reuses it.
func TestSeccomp_Errors(t *testing.T) {
	calls := []struct {
		name   string
		number int
		args   string
		want   unix.Errno
	}{
		{"from the future", 1000, "0", unix.ENOSYS},
		{"unknown to the profile", 550, "0", unix.ENOSYS},
		{"keyctl", unix.SYS_KEYCTL, "0", unix.EPERM},
		{"mount", unix.SYS_MOUNT, "0, 0, 0, 0, 0", unix.EPERM},
		{"fsopen", unix.SYS_FSOPEN, "0, 0", unix.EPERM},
		{"unshare", unix.SYS_UNSHARE, "0x10000000", unix.EPERM},
		{"clone of a user namespace", unix.SYS_CLONE, "0x10000000, 0, 0, 0, 0", unix.EPERM},
		{"clone3", unix.SYS_CLONE3, "0, 0", unix.ENOSYS},
		{"socket of AF_AX25", unix.SYS_SOCKET, "3, 1, 0", unix.EPERM},
		{"socket of AF_VSOCK", unix.SYS_SOCKET, "40, 1, 0", unix.EPERM},
		{"bpf", unix.SYS_BPF, "0, 0, 0", unix.EPERM},
		{"io_uring_setup", unix.SYS_IO_URING_SETUP, "0, 0", unix.EPERM},
	}
	var script, want strings.Builder
	for _, c := range calls {
		fmt.Fprintf(&script, "syscall(%d, %s); print '%s: ', $!+0, \"\\n\";", c.number, c.args, c.name)
		fmt.Fprintf(&want, "%s: %d\n", c.name, c.want)
	}
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		for _, name := range []string{"compiles", "reuses"} {
			config := driver.TaskConfig{Command: "/usr/bin/perl", Args: []string{"-e", script.String()}}
			tk := n.newTask("", name, config, func(*drivers.TaskConfig) {})
			tk.start()
			tk.wait()
			must.Eq(t, want.String(), tk.output("stdout", contains("io_uring_setup")), must.Sprint(name))
		}
	})
}
