package ociruntime

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/shoenig/test/must"
)

// fakeCrun is a runtime that writes to stderr and to its log, and exits with a code.
func fakeCrun(t *testing.T, stderr, log string, code int) Runtime {
	dir := t.TempDir()
	for name, text := range map[string]string{"stderr": stderr, "log": log} {
		must.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	script := fmt.Sprintf(`#!/bin/sh
for a; do case $a in --log=*) log=${a#--log=};; esac; done
cat %[1]s/stderr >&2
cat %[1]s/log > "$log"
exit %d
`, dir, code)
	path := filepath.Join(dir, "crun")
	must.NoError(t, os.WriteFile(path, []byte(script), 0o700))
	return Runtime{Path: path, StateDir: filepath.Join(dir, "state")}
}

func TestExec_CommandNotStarted(t *testing.T) {
	for _, c := range []struct{ command, stderr, logged, want string }{
		{"nosuch", "executable file `nosuch` not found in $PATH: No such file or directory\n",
			"executable file `nosuch` not found in $PATH: No such file or directory", `command "nosuch" not found in PATH (/bin)`},
		{"/no/such", `{"msg":"executable file '/no/such' not found: No such file or directory","level":"error","time":"1"}` + "\n",
			"executable file '/no/such' not found: No such file or directory", `command "/no/such" not found in the task's file system`},
		{"/no/such", "exec failed: unable to start container process: exec: \"/no/such\": stat /no/such: no such file or directory\n",
			`exec failed: unable to start container process: exec: \"/no/such\": stat /no/such: no such file or directory`,
			`command "/no/such" not found in the task's file system`},
		{"/etc", "open executable: Operation not permitted\n", "open executable: Operation not permitted",
			`command "/etc": permission denied; it must be a file that the task's user may execute`},
		{"/a", "exec container process `/a`: No such file or directory\n", "exec container process `/a`: No such file or directory",
			`command "/a": its interpreter or dynamic loader not found in the task's file system`},
		{"/a", "chdir to `/x`: Permission denied\n", "chdir to `/x`: Permission denied", "chdir to `/x`: Permission denied"},
		{"/a", "exec failed: no room\n", "exec failed: no room", "no room"},
	} {
		log := fmt.Sprintf("{\"msg\":\"%s\",\"level\":\"error\"}\n", c.logged)
		var stderr bytes.Buffer
		_, err := fakeCrun(t, c.stderr, log, 1).Exec(context.Background(), "id", ExecOptions{
			Process: &specs.Process{Args: []string{c.command}, Env: []string{"PATH=/bin"}},
			Stderr:  &stderr, Dir: t.TempDir(),
		})
		must.EqError(t, err, c.want)
		must.Eq(t, "", stderr.String(), must.Sprint("output to the user"))
	}
}

// The output of a command may look like an error of a runtime.
func TestExec_OutputLikeFailure(t *testing.T) {
	for _, text := range []string{"exec failed: mine\n", "exec failed: mine\nmore\n", "{\"msg\":\"mine\"}\n", "exec failed", ""} {
		var stderr bytes.Buffer
		code, err := fakeCrun(t, text, "", 3).Exec(context.Background(), "id", ExecOptions{
			Process: &specs.Process{Args: []string{"/a"}}, Stderr: &stderr, Dir: t.TempDir(),
		})
		must.NoError(t, err)
		must.Eq(t, 3, code)
		must.Eq(t, text, stderr.String())
	}
}

func TestFirstLine(t *testing.T) {
	var out strings.Builder
	o := ExecOptions{Process: &specs.Process{}, Stderr: &out}
	first := o.withholdFailure()
	write := func(text string) {
		t.Helper()
		n, err := o.Stderr.Write([]byte(text))
		must.NoError(t, err)
		must.Eq(t, len(text), n)
	}
	write("exec failed: a\n")
	must.Eq(t, "", out.String())
	write("b")
	must.Eq(t, "exec failed: a\nb", out.String())
	write("exec failed: c\n") // not the first
	must.Eq(t, "exec failed: a\nbexec failed: c\n", out.String())
	first.finish(true)
	must.Eq(t, "exec failed: a\nbexec failed: c\n", out.String())
}

func TestFirstLine_Terminal(t *testing.T) {
	var out strings.Builder
	o := ExecOptions{Process: &specs.Process{Terminal: true}, Stdout: &out}
	first := o.withholdFailure()
	for _, piece := range []string{"^@", "^C\x1b[1;31mexec failed: a\x1b[0m\r\n"} {
		_, err := o.Stdout.Write([]byte(piece))
		must.NoError(t, err)
	}
	must.Eq(t, "^@^C", out.String())
	first.finish(true)
	must.Eq(t, "^@^C", out.String())
}
