package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testtimeout"
)

// withoutCgroup2 replaces /sys/fs/cgroup by a tree without the directory of version 2, in a mount
// namespace, and executes the given command. Unmounting is not enough: crun treats the empty
// directory as a hierarchy, and fills it with files that cannot be removed as cgroups. The new
// tree is assembled on top of version 2, which nothing else uses.
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

// WithoutCgroup2 returns a command prefix for programs such as crun that refuse a machine with
// both versions of cgroups mounted: the command runs in a mount namespace without version 2.
// All other mounts stay shared with ours. It is nil if there is only one version.
func WithoutCgroup2() []string {
	if _, err := os.Stat("/sys/fs/cgroup/unified"); err != nil {
		return nil
	}
	return []string{"/usr/bin/unshare", "--mount", "--propagation", "unchanged", "/bin/sh", "-ec", withoutCgroup2, "sh"}
}

// EnterWithoutCgroup2 is for many short commands: it keeps a process in such a namespace until
// the sandbox ends, and returns a command prefix that enters it. It is nil if there is only
// one version.
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
	// The process executes several programs in sequence; only the last one is in the final
	// namespace.
	cmdline := fmt.Sprintf("/proc/%d/cmdline", cmd.Process.Pid)
	for deadline := time.Now().Add(testtimeout.Scale(10 * time.Second)); ; time.Sleep(time.Millisecond) {
		if now, err := os.ReadFile(cmdline); err == nil && string(now) == "/bin/sleep\x00infinity\x00" {
			break
		}
		if time.Now().After(deadline) {
			return nil, errors.New("create a namespace without cgroup v2: its process did not start in time")
		}
	}
	return []string{"/usr/bin/nsenter", "--mount", "--target", strconv.Itoa(cmd.Process.Pid)}, nil
}
