package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"
)

// TestRenderedFiles checks that a task has its artifacts, templates and secrets, and that changes
// reach it by signal, script or restart. Nomad does all this, so one runtime is enough.
func TestRenderedFiles(t *testing.T) {
	t.Parallel()
	c := shareAgent(t, "crun")
	files := httptest.NewServer(artifacts(c.t))
	defer files.Close()
	for path, value := range map[string]string{"": "signalled", "/inside": "scripted", "/inside/inside": "restarted"} {
		c.setVariable(path, value, "first")
	}
	alloc := c.run(testdata(c.t, "rendered.nomad.hcl", "ARTIFACT", files.URL), api.AllocClientStatusRunning)
	c.waitLog(alloc, "inside", "stdout", "started with first\n")
	c.expectOutput(alloc, "cat /local/signalled /local/scripted; echo $RESTARTED", "first", "first", "first")
	c.expectOutput(alloc, "/local/tool/bin/tool; cat /alloc/data/page.html", "an unpacked tool", "a page")
	c.expectOutput(alloc, "stat -c '%a %u %g' /secrets/mode; cat /secrets/mode", "640 65534 65534", "of rendered")
	c.expectOutput(alloc, "stat -f -c %T /secrets; df -k --output=size /secrets | tail -n 1 | xargs", "tmpfs", "3072")
	c.expectOutput(alloc, "ls -d /private 2>/dev/null | wc -l", "0")
	first := c.identities(alloc, "inside")

	c.setVariable("", "signalled", "second")
	c.waitLog(alloc, "inside", "stdout", "hup\nsecond\n")
	c.setVariable("/inside", "scripted", "second")
	c.eventually("the script has run", func() error {
		result, err := c.Exec(c.ctx, alloc, "inside", "cat", "/tmp/seen")
		if err == nil && result.Stdout != "second\n" {
			err = fmt.Errorf("output is %q", result.Stdout+result.Stderr)
		}
		return err
	})
	must.Eq(c.t, first, c.identities(alloc, "inside"))

	c.setVariable("/inside/inside", "restarted", "second")
	c.waitLog(alloc, "inside", "stdout", "started with second\n")
	must.NotEq(c.t, first, c.identities(alloc, "inside"))
	c.expectOutput(alloc, "echo $RESTARTED; cat /local/signalled", "second", "second")
}

// setVariable writes a Nomad variable at a path below the job's own.
func (c *cluster) setVariable(path, name, value string) {
	c.t.Helper()
	_, _, err := c.Client().Variables().Update(&api.Variable{
		Path: "nomad/jobs/rendered" + path, Items: api.VariableItems{name: value},
	}, nil)
	must.NoError(c.t, err)
}

// artifacts serves an archive that contains a program, and a page.
func artifacts(t *testing.T) http.Handler {
	t.Helper()
	const program = "#!/bin/sh\necho an unpacked tool\n"
	var archive bytes.Buffer
	packed := gzip.NewWriter(&archive)
	w := tar.NewWriter(packed)
	must.NoError(t, w.WriteHeader(&tar.Header{Name: "bin/tool", Mode: 0o755, Size: int64(len(program))}))
	_, err := w.Write([]byte(program))
	must.NoError(t, err)
	must.NoError(t, w.Close())
	must.NoError(t, packed.Close())
	mux := http.NewServeMux()
	mux.HandleFunc("/tool.tar.gz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(archive.Bytes()) })
	mux.HandleFunc("/page.html", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("a page\n")) })
	return mux
}
