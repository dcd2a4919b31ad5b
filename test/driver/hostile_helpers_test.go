package driver_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
)

// Attacks of a task on the helper programs, which run as root.

// spying makes a wrapper write its environment and arguments to a file at each call.
func spying(t *testing.T, wrapper, file string) {
	t.Helper()
	b, err := os.ReadFile(wrapper)
	must.NoError(t, err)
	spy := "{ echo \"$0 $*\"; tr '\\0' '\\n' < /proc/$$/environ; } >> " + file + "\n"
	must.NoError(t, os.WriteFile(wrapper, []byte(strings.Replace(string(b), "\n", "\n"+spy, 1)), 0o755))
}

// Trap D20: neither the task's nor the plugin's environment reaches the runtime or the monitor in
// any call, and the task's does not reach a registry's credential helper.
func TestStart_HelpersGetNoTaskEnvironment(t *testing.T) {
	g := newAuthRegistry(t)
	image := g.push(t, "app:v1", 0)
	dir := t.TempDir()
	calls := filepath.Join(dir, "seen")
	helped := written(t, filepath.Join(dir, "helped.json"), fmt.Sprintf(`{"credHelpers": {%q: "spy"}}`, g.host))
	helper := written(t, filepath.Join(dir, "docker-credential-spy"), fmt.Sprintf("#!/bin/sh\necho '{\"ServerURL\": %q, \"Username\": %q, \"Secret\": %q}'\n",
		g.host, registryUser, registryPassword))
	must.NoError(t, os.Chmod(helper, 0o755))
	spying(t, helper, calls)
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	withRuntimes(t, func(t *testing.T, runtime string) {
		_ = os.Remove(calls) // of the previous runtime
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime, c.Image.AuthFile = runtime, helped })
		spying(t, n.programs.runtime, calls)
		spying(t, n.programs.conmon, calls)
		evil := func(c *drivers.TaskConfig) {
			quiet(c)
			for _, name := range []string{"LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "GCONV_PATH", "BASH_ENV", "ENV", "_LIBCONTAINER_INITPIPE", "_OCI_STARTPIPE", "LISTEN_FDS", "NOTIFY_SOCKET", "XDG_RUNTIME_DIR", "DOCKER_CONFIG"} {
				c.Env[name] = "/evil"
			}
		}
		config := sh("exec sleep 600")
		config.Share = []string{"ipc", "uts", "pid"}
		config.PreStop = &driver.PreStopConfig{Command: "/bin/true", Timeout: "5s"}
		tk := n.newTask("", "evil", ready(config, driver.ReadyConfig{Exec: []string{"/bin/true"}}), evil)
		tk.start()
		must.StrContains(t, tk.exec("tr '\\0' '\\n' < /proc/self/environ"), "LD_PRELOAD=/evil\n")
		must.NoError(t, n.StopTask(tk.ID, maxWait, "SIGKILL"))
		must.NoError(t, n.DestroyTask(tk.ID, true))
		pulled := n.newTask("", "pulled", driver.TaskConfig{Image: image}, evil)
		pulled.start()
		must.Eq(t, 0, pulled.wait().ExitCode)

		b, err := os.ReadFile(calls)
		must.NoError(t, err)
		text := string(b)
		for _, called := range []string{"--cid", "create", "start", "exec", "run", "delete", "docker-credential-spy get"} {
			must.StrContains(t, text, called)
		}
		must.StrNotContains(t, text, "/evil")
		helperAt := strings.Index(text, "docker-credential-spy") // the credential helper gets the plugin's environment
		must.StrNotContains(t, text[:helperAt], "\nHOME=")
	})
}

// TestStart_NoHooks checks that the spec of a task contains no hooks that run outside of it.
func TestStart_NoHooks(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		config := sh("exec sleep 600")
		config.Labels = map[string]string{"run.oci.hooks.stdout": "/x", "run.oci.keep_original_groups": "1", "org.systemd.property.x": "1"}
		tk := n.newTask("", "plain", config, quiet)
		tk.start()
		found, err := filepath.Glob(filepath.Join(n.config.RunDir, "pods", tk.AllocID, "tasks", "*", "config.json"))
		must.NoError(t, err)
		must.SliceLen(t, 1, found)
		b, err := os.ReadFile(found[0])
		must.NoError(t, err)
		var spec specs.Spec
		must.NoError(t, json.Unmarshal(b, &spec))
		must.Nil(t, spec.Hooks)
		for key := range spec.Annotations {
			must.True(t, strings.HasPrefix(key, "org.nomadproject.") || key == "run.oci.seccomp_bpf_data", must.Sprint(key))
		}
	})
}

// TestStart_NoInheritedDescriptors checks that descriptors of the plugin, even without
// close-on-exec, are not open in a task or a command, where they could lead to directories of the
// host (CVE-2024-21626).
func TestStart_NoInheritedDescriptors(t *testing.T) {
	leaked, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	must.NoError(t, err)
	high, err := unix.FcntlInt(uintptr(leaked), unix.F_DUPFD, 100)
	must.NoError(t, err)
	t.Cleanup(func() { must.NoError(t, unix.Close(leaked)); must.NoError(t, unix.Close(high)) })
	const list = `exec perl -e 'print grep { -e "/proc/%s/fd/$_" } 0..300'`
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		inherited := filepath.Join(t.TempDir(), "inherited")
		for _, path := range []string{n.programs.conmon, n.programs.runtime} {
			script, err := os.ReadFile(path)
			must.NoError(t, err)
			note := fmt.Sprintf("\n[ -e /proc/$$/fd/%d ] && echo \"$0\" >> %s\n", high, inherited)
			must.NoError(t, os.WriteFile(path, []byte(strings.Replace(string(script), "\n", note, 1)), 0o755))
		}
		tk := n.newTask("", "plain", sh("exec sleep 600"), quietRoot)
		tk.start()
		must.FileNotExists(t, inherited)
		for _, who := range []string{"1", "self"} {
			must.Eq(t, "012", tk.exec(fmt.Sprintf(list, who)), must.Sprint(who))
		}
		for _, fd := range []string{"3", "4", "5", "6", "7", "8", "9", "10", fmt.Sprint(leaked), fmt.Sprint(high)} {
			config := sh("ls; ls ../../..")
			config.WorkDir = "/proc/self/fd/" + fd
			in := n.newTask("", "fd"+fd, config, func(c *drivers.TaskConfig) { c.User = "root" })
			if _, _, err := n.StartTask(in.TaskConfig); err != nil {
				continue // most runtimes close them
			}
			in.wait()
			out, err := os.ReadFile(filepath.Join(in.TaskDir().LogDir, in.Name+".stdout.0"))
			must.NoError(t, err)
			must.StrNotContains(t, string(out), "boot", must.Sprint(fd))
			must.NoError(t, n.DestroyTask(in.ID, true))
		}
	})
}

// TestStart_RuntimeNotWritable checks that a task cannot overwrite the runtime's program through
// /proc/self/exe of a process that enters it (CVE-2019-5736).
func TestStart_RuntimeNotWritable(t *testing.T) {
	for name, program := range map[string]func(n *node, runtime string) string{
		"behind a script": func(n *node, _ string) string { return n.ownRuntime(n.t) },
		"itself":          (*node).useRuntimeCopy,
	} {
		t.Run(name, func(t *testing.T) {
			withRuntimes(t, func(t *testing.T, runtime string) {
				n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
				n.isNotWritten(program(n, runtime))
			})
		})
	}
}

func (n *node) isNotWritten(program string) {
	t := n.t
	sum := sha(t, program)
	tk := n.newTask("", "writer", sh(`cp /usr/bin/perl /tmp/perl; echo '#!/proc/self/exe' > /tmp/entry; chmod 755 /tmp/entry
		exec /tmp/perl -e 'for (;;) { for $p (glob "/proc/[0-9]*") {
			$e = readlink "$p/exe"; next if !$e || $e =~ m{^(/usr/bin|/tmp)/(perl|sh|dash|cp|chmod)$};
			open S, ">>/alloc/data/seen"; print S "$e\n"; close S;
			for $m (">>", "+<") { syswrite F, "#!/evil\n" if open F, $m, "$p/exe" } } }'`), quietRoot)
	tk.start()
	entered := ""
	n.waitFor("the task to see the runtime inside", func() bool {
		if res, err := n.ExecTask(tk.ID, []string{"/tmp/entry"}, maxWait); err == nil {
			entered = string(res.Stdout) + string(res.Stderr)
		}
		_, err := os.Stat(filepath.Join(tk.TaskDir().SharedAllocDir, "data/seen"))
		return err == nil && entered != ""
	})
	must.StrContains(t, entered, "/tmp/entry", must.Sprint("error of the runtime"))
	must.Eq(t, sum, sha(t, program))
	n.checkStarts(sh("exit 0"))
}

// ownRuntime makes the node use a copy of the runtime's program, so that a successful attack does not
// modify the installed one.
func (n *node) ownRuntime(t *testing.T) string {
	t.Helper()
	wrapper, err := os.ReadFile(n.config.Runtime)
	must.NoError(t, err)
	inner := regexp.MustCompile(`exec (\S+) "\$@"`).FindSubmatch(wrapper)[1]
	text, err := os.ReadFile(string(inner))
	must.NoError(t, err)
	at := filepath.Join(t.TempDir(), "program")
	name := filepath.Base(n.config.Runtime)
	found, err := exec.LookPath(name)
	must.NoError(t, err)
	must.NoError(t, exec.Command("cp", found, at).Run())
	must.NoError(t, os.Chmod(filepath.Dir(at), 0o755))
	program := at
	if strings.HasPrefix(string(text), "#!") {
		own := written(t, filepath.Join(t.TempDir(), name), strings.ReplaceAll(string(text), "'"+found+"'", at))
		must.NoError(t, os.Chmod(own, 0o755))
		at = own
	}
	must.NoError(t, os.WriteFile(n.config.Runtime, []byte(strings.Replace(string(wrapper), string(inner), at, 1)), 0o755))
	return program
}

func sha(t *testing.T, file string) [32]byte {
	t.Helper()
	b, err := os.ReadFile(file)
	must.NoError(t, err)
	return sha256.Sum256(b)
}
