package logs

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"
)

// A collector of another build of the plugin, as after an upgrade, is replaced when a client
// connects, and no output is lost.
func TestClient_CollectorOfAnotherBuild(t *testing.T) {
	n := newNode(t)
	dir, logDir, w := n.task("web")
	other := n.collectorOfAnotherBuild()
	_, err := w.WriteString("before\n")
	must.NoError(t, err)
	n.eventually("the output", func() bool { return contains(t, logDir, "before\n") })

	c := n.client()
	_, err = w.WriteString("during\n")
	must.NoError(t, err)
	h, err := c.Attach(ctx(t), dir)
	must.NoError(t, err)
	must.NoError(t, other.Wait())
	must.Len(t, 1, n.started())
	_, err = w.WriteString("after\n")
	must.NoError(t, err)
	must.NoError(t, w.Close())
	must.NoError(t, c.Drain(ctx(t), dir))
	must.NoError(t, h.Close())
	_, contents := read(t, logDir, "web.stdout")
	must.Eq(t, []string{"before\nduring\nafter\n"}, contents)
}

func contains(t *testing.T, logDir, want string) bool {
	_, contents := read(t, logDir, "web.stdout")
	return len(contents) > 0 && contents[0] == want
}

// collectorOfAnotherBuild starts a collector from a copy of this program.
func (n *node) collectorOfAnotherBuild() *exec.Cmd {
	n.t.Helper()
	path := filepath.Join(n.dir, "plugin")
	own, err := os.Open("/proc/self/exe")
	must.NoError(n.t, err)
	defer own.Close()
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o755)
	must.NoError(n.t, err)
	_, err = io.Copy(file, own)
	must.NoError(n.t, err)
	must.NoError(n.t, file.Close())
	must.NoError(n.t, os.MkdirAll(n.cfg.Dir, 0o700))
	started, startedW, err := os.Pipe()
	must.NoError(n.t, err)
	defer started.Close()
	cmd := exec.Command(path)
	cmd.Args = []string{processName, n.cfg.Dir, n.cfg.Tasks}
	cmd.ExtraFiles = []*os.File{startedW}
	must.NoError(n.t, cmd.Start())
	n.t.Cleanup(func() { _ = cmd.Process.Kill() }) // it has ended, unless the test failed
	must.NoError(n.t, startedW.Close())
	_, err = started.Read(make([]byte, 1))
	must.ErrorIs(n.t, err, io.EOF)
	return cmd
}
