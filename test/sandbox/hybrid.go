package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/nomad-sidecar/nomad-sidecar/test/patience"
)

// withoutCgroup2 replaces /sys/fs/cgroup by one without the directory of
// version 2, in a mount namespace, and becomes the command given. To unmount it
// would not do: crun takes the empty directory that comes to light for a
// hierarchy, and fills it with files that nobody can remove as cgroups. The
// new one is put together on top of version 2, a place that nothing else uses.
const withoutCgroup2 = `
cd /sys/fs/cgroup
mount --make-rprivate .
mount -t tmpfs -o mode=755 cgroup unified
for hierarchy in *; do
	[ $hierarchy != unified ] || continue
	mkdir unified/$hierarchy
	mount --bind $hierarchy unified/$hierarchy
done
mount --move unified /sys/fs/cgroup
cd "$OLDPWD"
exec "$@"
`

// WithoutCgroup2 is what to put before a command that refuses a machine with
// both versions of cgroups mounted, as crun does: it runs in a mount namespace
// without version 2. All other mounts stay shared with ours. It is nil where
// there is only one version.
func WithoutCgroup2() []string {
	if _, err := os.Stat("/sys/fs/cgroup/unified"); err != nil {
		return nil
	}
	return []string{"/usr/bin/unshare", "--mount", "--propagation", "unchanged", "/bin/sh", "-ec", withoutCgroup2, "sh"}
}

// EnterWithoutCgroup2 is for many short commands: it keeps a process in such a
// namespace, which the sandbox ends, and returns what to put before a
// command to run it there. It is nil where there is only one version.
func EnterWithoutCgroup2() ([]string, error) {
	before := WithoutCgroup2()
	if before == nil {
		return nil, nil
	}
	argv := append(before, "/bin/sleep", "infinity")
	cmd := exec.Command(argv[0], argv[1:]...)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	// It is one program after the other. Only as the last it is at its place,
	// and looks the same from then on.
	cmdline := fmt.Sprintf("/proc/%d/cmdline", cmd.Process.Pid)
	for deadline := time.Now().Add(patience.For(10 * time.Second)); ; time.Sleep(time.Millisecond) {
		if now, err := os.ReadFile(cmdline); err == nil && string(now) == "/bin/sleep\x00infinity\x00" {
			break
		}
		if time.Now().After(deadline) {
			return nil, errors.New("make a namespace without cgroups of version 2: its process does not come that far")
		}
	}
	return []string{"/usr/bin/nsenter", "--mount", "--target", strconv.Itoa(cmd.Process.Pid)}, nil
}
