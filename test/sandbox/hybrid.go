package sandbox

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
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
	argv := append(before, "/bin/sh", "-c", "echo there; exec sleep infinity")
	cmd := exec.Command(argv[0], argv[1:]...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		return nil, fmt.Errorf("make a namespace without cgroups of version 2: %w", err)
	}
	return []string{"/usr/bin/nsenter", "--mount", "--target", strconv.Itoa(cmd.Process.Pid)}, nil
}
