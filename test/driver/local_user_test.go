package driver_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
)

// Attacks by an unprivileged user of the host who can enter the directories of tasks.

const localUser = 65534

// asLocalUser runs a script on the host as the user, and returns its output.
func asLocalUser(script string) (string, error) {
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: localUser, Gid: localUser}}
	var out bytes.Buffer
	cmd.Stdout = &out
	err := cmd.Run()
	return out.String(), err
}

func mustAsLocalUser(t *testing.T, script string) {
	t.Helper()
	_, err := asLocalUser(script)
	must.NoError(t, err, must.Sprint(script))
}

// reachable makes the temporary directories of a test accessible to the user.
func reachable(t *testing.T) {
	t.Helper()
	must.NoError(t, os.Chmod(filepath.Dir(t.TempDir()), 0o711))
}

// TestLocalUser_ReachesNoFileOfTheDriver checks that a set-uid program written by root in a
// container cannot be executed on the host (CVE-2021-41091), even if the directories were created
// with a permissive mode.
func TestLocalUser_ReachesNoFileOfTheDriver(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		reachable(t)
		n := newNode(t, func(c *driver.PluginConfig) {
			c.Runtime, c.LogCollector = runtime, "pod"
			for _, dir := range []string{c.DataDir, c.RunDir} {
				must.NoError(t, os.Mkdir(dir, 0o755))
				must.NoError(t, os.Chmod(dir, 0o755))
			}
		})
		config := sh("cp /usr/bin/id /tmp/id; chmod 4755 /tmp/id; echo made; exec sleep 600")
		config.Share = []string{"ipc", "uts", "pid"}
		config.PodVolumes = map[string]driver.VolumeConfig{"data": {Target: "/shared"}}
		tk := n.newTask("", "maker", config, func(c *drivers.TaskConfig) { withoutCollector(c); c.User = "root" })
		tk.start()
		n.waitFor("the program", func() bool { return strings.Contains(tk.logged("stdout"), "made") })

		for _, dir := range []string{n.config.DataDir, n.config.RunDir} {
			must.NoError(t, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
				if err != nil || path == dir {
					return err
				}
				if _, err := asLocalUser("[ -e '" + path + "' ]"); err == nil {
					t.Errorf("the user can access %s", path)
					return filepath.SkipAll
				}
				return nil
			}))
		}
		for _, pattern := range []string{n.config.DataDir + "/roots/*/upper/tmp/id", n.config.DataDir + "/roots/*/tmp/id"} {
			found, err := filepath.Glob(pattern)
			must.NoError(t, err)
			for _, path := range found {
				out, _ := asLocalUser(path)
				must.Eq(t, "", out, must.Sprint("output of the set-uid program on the host"))
			}
		}
	})
}

// TestLocalUser_SwapsDirectories replaces directories by symlinks between two starts of a task.
func TestLocalUser_SwapsDirectories(t *testing.T) {
	victim := t.TempDir()
	must.NoError(t, os.WriteFile(filepath.Join(victim, "file"), []byte("secret"), 0o600))
	withRuntimes(t, func(t *testing.T, runtime string) {
		reachable(t)
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		for name, tc := range map[string]struct {
			dir  func(tk *task) string
			want string
		}{
			"local": {func(tk *task) string { return tk.TaskDir().LocalDir }, "mount at /local"},
			"logs":  {func(tk *task) string { return tk.TaskDir().LogDir }, "symbolic link"},
		} {
			tk := n.newTask("", "victim", sh("cat /local/file /alloc/logs/file; exec sleep 600"), quiet)
			_, _, err := n.StartTask(tk.TaskConfig)
			must.NoError(t, err)
			must.NoError(t, n.DestroyTask(tk.ID, true))

			dir := tc.dir(tk)
			mustAsLocalUser(t, "mv "+dir+" "+dir+".was && ln -s "+victim+" "+dir)
			must.ErrorContains(t, n.startError(tk), tc.want, must.Sprint(name))
			mustAsLocalUser(t, "rm "+dir+" && mv "+dir+".was "+dir)
			tk.start()
		}
	})
}

// TestLocalUser_LinksResolvConf checks that a symlink in place of resolv.conf does not make the
// driver overwrite a file of the host.
func TestLocalUser_LinksResolvConf(t *testing.T) {
	victim := written(t, filepath.Join(t.TempDir(), "victim"), "intact")
	withRuntimes(t, func(t *testing.T, runtime string) {
		reachable(t)
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		tk := n.newTask("", "victim", sh("exec sleep 600"), func(c *drivers.TaskConfig) {
			quiet(c)
			c.DNS = &drivers.DNSConfig{Servers: []string{"192.0.2.53"}, Searches: []string{"example.com"}, Options: []string{"ndots:2"}}
		})
		mustAsLocalUser(t, "ln -s "+victim+" "+tk.TaskDir().Dir+"/resolv.conf")
		tk.start()
		b, err := os.ReadFile(victim)
		must.NoError(t, err)
		must.Eq(t, "intact", string(b))
		conf := tk.exec("cat /etc/resolv.conf")
		for _, line := range []string{"nameserver 192.0.2.53\n", "search example.com\n", "options ndots:2\n"} {
			must.StrContains(t, conf, line)
		}
	})
}
