package pod

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"
)

func TestExecError(t *testing.T) {
	for line, want := range map[string]string{
		"exec /probe: operation not permitted": `command "/probe" cannot be executed: operation not permitted`,
		"{\"msg\":\"exec container process `/probe`: Operation not permitted\",\"level\":\"error\",\"time\":\"2026-11-30T12:00:00.000000Z\"}": `command "/probe" cannot be executed: operation not permitted`,
		"exec /a b/\x1b[31m: text file busy": `command "/a b/\x1b[31m" cannot be executed: text file busy`,
		"":                                   "",
		"exec: usage":                        "",
		"/bin/sh: 1: exec: /x: not found":    "",
		"exec /x: secret 123":                "",
		`{"msg":"ready","level":"info"}`:     "",
		"exec " + strings.Repeat("/x", 9000): "",
	} {
		err := execError(line)
		if want == "" {
			must.NoError(t, err, must.Sprint(line))
			continue
		}
		must.EqError(t, err, want)
	}
}

func TestLogs_LastLine(t *testing.T) {
	dir := t.TempDir()
	logs := Logs{AllocDirHostPath: dir, Dir: "alloc/logs"}
	at := filepath.Join(dir, "alloc/logs")
	must.NoError(t, os.MkdirAll(at, 0o755))
	write := func(name, text string) { must.NoError(t, os.WriteFile(filepath.Join(at, name), []byte(text), 0o600)) }
	long := time.Now().Add(-time.Hour)
	_, err := logs.lastLine("web.stderr", long)
	must.Error(t, err)
	write("web.stderr.9", "old\n")
	write("web.stderr.10", strings.Repeat("x", 2*maxLastLine)+"\nthe last\n\n")
	write("web.stderr.fifo", "no log")
	write("web.stdout.11", "another")
	line, err := logs.lastLine("web.stderr", long)
	must.NoError(t, err)
	must.Eq(t, "the last", line)
	_, err = logs.lastLine("web.stderr", time.Now().Add(time.Hour))
	must.ErrorContains(t, err, "no new line")
	must.NoError(t, os.Symlink("/etc/passwd", filepath.Join(at, "web.stderr.11")))
	_, err = logs.lastLine("web.stderr", long)
	must.Error(t, err, must.Sprint("symlink in place of the log"))
}
