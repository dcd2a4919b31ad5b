package driver_test

import (
	"archive/tar"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/nomad/structs"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testimage"
)

// localFile writes a file to the task's /local.
func (tk *task) localFile(name, content string, mode os.FileMode) {
	tk.n.t.Helper()
	path := filepath.Join(tk.TaskDir().LocalDir, name)
	must.NoError(tk.n.t, os.WriteFile(path, []byte(content), mode))
	must.NoError(tk.n.t, os.Chmod(path, mode))
}

// foreignELF returns the header of a program for another architecture.
func foreignELF() string {
	header := make([]byte, 64)
	copy(header, "\x7fELF\x02\x01\x01")
	const sparc64 = 43
	binary.LittleEndian.PutUint16(header[18:], sparc64)
	return string(header)
}

// TestStart_CommonMistakes checks that both runtimes report the same error for a program that
// cannot run, either as the error of the start or as the message of the exit.
func TestStart_CommonMistakes(t *testing.T) {
	cases := map[string]struct {
		config driver.TaskConfig
		files  map[string]string
		mode   os.FileMode
		want   string
	}{
		"not in PATH":    {driver.TaskConfig{Command: "no-such-program"}, nil, 0, `command "no-such-program" not found in PATH (/usr/local/sbin:`},
		"with arguments": {driver.TaskConfig{Command: "sleep 10"}, nil, 0, `write command = "sleep" and args = ["10"]`},
		"no such path":   {driver.TaskConfig{Command: "/opt/none"}, nil, 0, `command "/opt/none" not found in the task's file system; add its folder to the plugin's host_paths`},
		"a directory":    {driver.TaskConfig{Command: "/local"}, nil, 0, `command "/local" is a directory`},
		"not executable": {driver.TaskConfig{Command: "/local/file"}, map[string]string{"file": "#!/bin/sh\n"}, 0o644, `command "/local/file": permission denied for user`},
		"empty":          {driver.TaskConfig{Command: "/local/file"}, map[string]string{"file": ""}, 0o755, `exec format error: it is empty`},
		"not a program":  {driver.TaskConfig{Command: "/local/file"}, map[string]string{"file": "canary of the file"}, 0o755, `exec format error: neither an ELF program nor a script`},
		"foreign":        {driver.TaskConfig{Command: "/local/file"}, map[string]string{"file": foreignELF()}, 0o755, `exec format error: it is built for EM_SPARCV9`},
		"interpreter":    {driver.TaskConfig{Command: "/local/file"}, map[string]string{"file": "#!/usr/bin/none -x\n"}, 0o755, `its interpreter /usr/bin/none not found`},
		"CRLF":           {driver.TaskConfig{Command: "/local/file"}, map[string]string{"file": "#!/bin/sh\r\nexit 0\r\n"}, 0o755, `its #! line ends in CRLF`},
		"working directory is a file": {driver.TaskConfig{Command: "/bin/true", WorkDir: "/local/file"}, map[string]string{"file": "x"}, 0o644,
			`work_dir "/local/file" is not a directory`},
	}
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		for name, tc := range cases {
			t.Run(name, func(t *testing.T) {
				tk := n.newTask("", "app", tc.config, quiet)
				for file, content := range tc.files {
					tk.localFile(file, content, tc.mode)
				}
				_, _, err := n.StartTask(tk.TaskConfig)
				if err == nil {
					err = tk.wait().Err
					must.NoError(t, n.DestroyTask(tk.ID, true))
				} else {
					must.False(t, structs.IsRecoverable(err), must.Sprint("must not be recoverable"))
				}
				must.ErrorContains(t, err, tc.want)
				must.StrNotContains(t, err.Error(), "canary")
				must.StrNotContains(t, err.Error(), "conmon")
				must.StrNotContains(t, err.Error(), "invalid task")
			})
		}
	})
}

// TestExit_RuntimeCannotExecute checks that an error that only the runtime detects is reported:
// here, a file capability that the task may not have.
func TestExit_RuntimeCannotExecute(t *testing.T) {
	capability := make([]byte, 20) // version 2 of capabilities(7)
	const ipcLock = 14
	binary.LittleEndian.PutUint32(capability, 0x02000001)
	binary.LittleEndian.PutUint32(capability[4:], 1<<ipcLock)
	image := testimage.Layout(t, filepath.Join(t.TempDir(), "capable"), withLayer(t, testimage.New(t), tar.Header{
		Name: "capable", Typeflag: tar.TypeLink, Linkname: "init", Mode: 0o755,
		PAXRecords: map[string]string{"SCHILY.xattr.security.capability": string(capability)},
	}))
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := collecting(t, runtime)
		tk := n.newTask("", "app", driver.TaskConfig{Image: image, Entrypoint: []string{"/capable"}}, withoutCollector)
		tk.start()
		result := tk.wait()
		must.Eq(t, 1, result.ExitCode)
		must.EqError(t, result.Err, `command "/capable" cannot be executed: operation not permitted`)
	})
}

// TestStart_HealthyPrograms checks that an exit code of the program itself is not reported as a
// mistake.
func TestStart_HealthyPrograms(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		for name, config := range map[string]driver.TaskConfig{
			"in PATH": {Command: "sh", Args: []string{"-c", "exit 1"}}, "relative": {Command: "bin/sh", Args: []string{"-c", "exit 1"}},
			"script": {Command: "/local/script"}, "link": {Command: "/local/link", Args: []string{"-c", "exit 1"}}, "init": {Command: "false", Init: true},
		} {
			t.Run(name, func(t *testing.T) {
				tk := n.newTask("", "app", config, quiet)
				tk.localFile("script", "#!/bin/sh -e\nexit 1\n", 0o755)
				must.NoError(t, os.Symlink("../bin/sh", filepath.Join(tk.TaskDir().LocalDir, "link")))
				tk.start()
				result := tk.wait()
				must.Eq(t, 1, result.ExitCode)
				must.NoError(t, result.Err)
			})
		}
	})
}

// TestStart_TooLargeForExec checks the limits of execve(2).
func TestStart_TooLargeForExec(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		long := strings.Repeat("x", 128<<10)
		cases := map[string]struct {
			change func(*drivers.TaskConfig)
			args   []string
			want   string
		}{
			"variable": {func(c *drivers.TaskConfig) { c.Env["CONFIG"] = long }, nil, `variable "CONFIG" has 131079 bytes`},
			"argument": {func(*drivers.TaskConfig) {}, []string{long}, `argument 1 has 131072 bytes`},
			"total": {func(*drivers.TaskConfig) {}, strings.Split(strings.Repeat(long[:100<<10]+" ", 30), " "),
				"arguments and environment take"},
		}
		for name, tc := range cases {
			t.Run(name, func(t *testing.T) {
				tk := n.newTask("", "app", driver.TaskConfig{Command: "/bin/true", Args: tc.args}, func(c *drivers.TaskConfig) {
					quiet(c)
					tc.change(c)
				})
				_, _, err := n.StartTask(tk.TaskConfig)
				must.ErrorContains(t, err, tc.want)
				must.False(t, structs.IsRecoverable(err))
				must.Less(t, 1024, len(err.Error()))
			})
		}
	})
}

// TestStart_ReadyAtSecondStart checks that a failed readiness check can be retried by Nomad.
func TestStart_ReadyAtSecondStart(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		config := sh("[ -e /alloc/data/seen ] || { touch /alloc/data/seen; exit 1; }; touch /tmp/ready; sleep 1000")
		config.Ready = &driver.ReadyConfig{File: "/tmp/ready", Interval: "100ms", Timeout: "5s"}
		tk := n.newTask("", "app", config, quiet)
		_, _, err := n.StartTask(tk.TaskConfig)
		must.Error(t, err)
		must.True(t, structs.IsRecoverable(err), must.Sprint(err))

		again := n.newTask(tk.AllocID, "app", config, quiet)
		again.start()
		must.NoError(t, n.StopTask(again.ID, 0, "SIGKILL"))
	})
}

// TestExit_OOMKilled checks the message that Nomad shows for an OOM kill.
func TestExit_OOMKilled(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		tk := n.newTask("", "app", driver.TaskConfig{Command: "/usr/bin/tail", Args: []string{"/dev/zero"}}, quiet)
		tk.start()
		result := tk.wait()
		must.True(t, result.OOMKilled)
		must.EqError(t, result.Err, "OOM Killed")
	})
}
