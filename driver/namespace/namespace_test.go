package namespace

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/shared/leakcheck"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to create namespaces")
	}
}

func TestPin_OutlivesThread(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	own, err := os.Hostname()
	must.NoError(t, err)

	must.NoError(t, os.WriteFile(filepath.Join(dir, "uts"), nil, 0o444), must.Sprint("leftover of an interrupted Pin"))
	must.NoError(t, Pin(dir, SetHostname("a-pod"), IPC, UTS))
	defer func() { _ = Unpin(dir, IPC, UTS) }()
	must.True(t, Pinned(dir, IPC))
	must.True(t, Pinned(dir, UTS))
	must.False(t, Pinned(dir, Net))
	must.SliceLen(t, 2, leakcheck.MountsBelow(t, dir))

	out, err := exec.Command("nsenter", "--uts="+filepath.Join(dir, "uts"), "--ipc="+filepath.Join(dir, "ipc"),
		"sh", "-c", "hostname; readlink /proc/self/ns/ipc").CombinedOutput()
	must.NoError(t, err, must.Sprint(string(out)))
	lines := strings.Fields(string(out))
	must.Eq(t, "a-pod", lines[0])
	ours, err := os.Readlink("/proc/self/ns/ipc")
	must.NoError(t, err)
	must.NotEq(t, ours, lines[1])
	now, err := os.Hostname()
	must.NoError(t, err)
	must.Eq(t, own, now, must.Sprint("host name of the host"))

	must.NoError(t, Unpin(dir, IPC, UTS))
	must.NoError(t, Unpin(dir, IPC, UTS), must.Sprint("second call"))
	must.SliceEmpty(t, leakcheck.MountsBelow(t, dir))
	entries, err := os.ReadDir(dir)
	must.NoError(t, err)
	must.Len(t, 0, entries)
}

func TestPin_Error(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	err := Pin(dir, SetHostname(strings.Repeat("x", 65)), IPC, UTS) // HOST_NAME_MAX is 64
	must.ErrorContains(t, err, "set hostname")
	must.SliceEmpty(t, leakcheck.MountsBelow(t, dir))
	must.ErrorContains(t, Pin(dir, nil, Kind("pid")), "cannot be pinned")
	entries, err := os.ReadDir(dir)
	must.NoError(t, err)
	must.Len(t, 0, entries)
}

func TestPinUser(t *testing.T) {
	needRoot(t)
	const program = "/usr/bin/catatonit"
	if _, err := os.Stat(program); err != nil {
		t.Skip("needs catatonit")
	}
	from, dir := t.TempDir(), t.TempDir()
	const first = 0x70000000
	must.NoError(t, PinUser(from, program, first, 1000, IPC, UTS))
	must.NoError(t, PinUser(from, program, first, 1000, IPC, UTS), must.Sprint("over leftovers"))
	defer func() { _ = errors.Join(Unpin(from, User, IPC, UTS), Unpin(dir, IPC, UTS)) }()
	must.NoError(t, PinFrom(from, dir, SetHostname("a-pod"), first, UTS))
	limit := func() error { return os.WriteFile("/proc/sys/kernel/shmmni", []byte("77"), 0) }
	must.NoError(t, PinFrom(from, dir, limit, first, IPC), must.Sprint("only the owner may set limits"))

	out, err := exec.Command("nsenter", "--user="+filepath.Join(from, "user"), "--uts="+filepath.Join(dir, "uts"), "--ipc="+filepath.Join(dir, "ipc"),
		"sh", "-c", "hostname; echo $(cat /proc/sys/kernel/shmmni /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups)").CombinedOutput()
	must.NoError(t, err, must.Sprint(string(out)))
	must.Eq(t, "a-pod\n77 0 1879048192 1000 0 1879048192 1000 allow\n", string(out))

	must.Error(t, PinUser(from, "/no/such/program", first, 1000))
	must.False(t, Pinned(from, User))
	must.NoError(t, errors.Join(Unpin(from, User, IPC, UTS), Unpin(dir, IPC, UTS)))
	must.SliceEmpty(t, leakcheck.MountsBelow(t, from))
	must.SliceEmpty(t, leakcheck.MountsBelow(t, dir))
}
