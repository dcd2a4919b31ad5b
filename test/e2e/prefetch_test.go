package e2e

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/agent"
	"github.com/nomad-sidecar/nomad-sidecar/test/internal/matrix"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testimage"
)

const (
	slowLayer = 8 << 20 // bytes
	slowRate  = 2 << 20 // bytes per second: an image takes four seconds
	budget    = time.Second
)

// slowRegistry is a registry on loopback with throttled layers.
type slowRegistry struct {
	host  string
	blobs atomic.Int64 // layers that were requested
}

func newSlowRegistry(t *testing.T) *slowRegistry {
	t.Helper()
	s := &slowRegistry{}
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			s.blobs.Add(1)
			w = &throttled{ResponseWriter: w, r: r}
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	s.host = strings.TrimPrefix(server.URL, "http://")
	return s
}

// throttled writes at slowRate.
type throttled struct {
	http.ResponseWriter
	r *http.Request
}

func (s *throttled) Write(p []byte) (n int, err error) {
	const chunk = slowRate / 20
	for len(p) > 0 && err == nil {
		part := p[:min(chunk, len(p))]
		select {
		case <-time.After(time.Second * time.Duration(len(part)) / slowRate):
		case <-s.r.Context().Done():
			return n, s.r.Context().Err()
		}
		var m int
		m, err = s.ResponseWriter.Write(part)
		n, p = n+m, p[len(part):]
	}
	return n, err
}

// push stores an image of random bytes.
func (s *slowRegistry) push(t *testing.T, tag string) string {
	t.Helper()
	layer, err := random.Layer(slowLayer, types.DockerLayer)
	must.NoError(t, err)
	img, err := mutate.AppendLayers(testimage.New(t), layer)
	must.NoError(t, err)
	ref, err := name.NewTag(s.host+"/"+tag, name.Insecure)
	must.NoError(t, err)
	must.NoError(t, remote.Write(ref, img, testimage.NoKeepAlive()))
	return ref.String()
}

// prefetching is a job on an agent that may use a slow registry.
type prefetching struct {
	*cluster
	registry *slowRegistry
	id       string
}

// file writes the job with an image.
func (p *prefetching) file(image string) string {
	p.t.Helper()
	path := filepath.Join(p.t.TempDir(), "job.nomad.hcl")
	must.NoError(p.t, os.WriteFile(path, []byte(testdata(p.t, "prefetch.nomad.hcl", "JOB", p.id, "IMAGE", image)), 0o600))
	return path
}

// command returns a command of nomad-sidecar and its output.
func (p *prefetching) command(args ...string) (*exec.Cmd, *bytes.Buffer) {
	p.t.Helper()
	cmd := exec.CommandContext(p.ctx, program(p.t, "nomad-sidecar"), args...)
	cmd.Env = append(os.Environ(), "NOMAD_ADDR="+p.Address())
	out := &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	return cmd, out
}

// gap returns the time from the end of the old task to the start of the new one.
func (p *prefetching) gap() time.Duration {
	p.t.Helper()
	allocs, _, err := p.Client().Jobs().Allocations(p.id, true, nil)
	must.NoError(p.t, err)
	must.SliceLen(p.t, 2, allocs)
	old, now := allocs[0], allocs[1]
	if old.CreateIndex > now.CreateIndex {
		old, now = now, old
	}
	p.waitAlloc(old.ID, api.AllocClientStatusComplete)
	ended, err := p.Alloc(old.ID)
	must.NoError(p.t, err)
	began, err := p.Alloc(now.ID)
	must.NoError(p.t, err)
	return began.TaskStates["app"].StartedAt.Sub(ended.TaskStates["app"].FinishedAt)
}

// leftovers returns the jobs that pull images and still exist.
func (p *prefetching) leftovers() (ids []string) {
	p.t.Helper()
	jobs, _, err := p.Client().Jobs().PrefixList(p.id + "-prefetch-")
	must.NoError(p.t, err)
	for _, j := range jobs {
		ids = append(ids, j.ID)
	}
	return ids
}

func withSlowRegistry(t *testing.T, test func(p *prefetching)) {
	t.Helper()
	r := newSlowRegistry(t)
	conf := filepath.Join(t.TempDir(), "registries.conf")
	must.NoError(t, os.WriteFile(conf, []byte("[[registry]]\nlocation = \""+r.host+"\"\ninsecure = true\n"), 0o600))
	exclusively(t, matrix.One(), func(c *cluster) {
		test(&prefetching{cluster: c, registry: r})
	}, func(o *agent.Options) { o.ImageConfig = fmt.Sprintf("registries_conf = %q\n", conf) })
}

// TestPrefetch measures the time without a running task during an update, with and without images
// pulled in advance, and checks that nothing remains of the job that pulls.
func TestPrefetch(t *testing.T) {
	withSlowRegistry(t, func(p *prefetching) {
		gaps := map[bool]time.Duration{}
		for _, prefetch := range []bool{false, true} {
			p.id = fmt.Sprintf("web-%t", prefetch)
			p.templater("run", p.file(p.registry.push(p.t, p.id+":1")))
			args := []string{"run", p.file(p.registry.push(p.t, p.id+":2"))}
			if prefetch {
				args = append([]string{"run", "-prefetch"}, args[1:]...)
			}
			out := p.templater(args...)
			gaps[prefetch] = p.gap()
			must.Eq(p.t, prefetch, strings.Contains(out, "images pulled on 1 of 1 nodes"), must.Sprint(out))
			must.SliceEmpty(p.t, p.leftovers())

			before := p.registry.blobs.Load()
			out = p.templater("run", "-prefetch", args[len(args)-1])
			must.StrContains(p.t, out, "no images are pulled in advance")
			must.Eq(p.t, before, p.registry.blobs.Load())
		}
		p.t.Logf("gap from the end of the old task to the start of the new: %s, with -prefetch %s", gaps[false], gaps[true])
		must.Greater(p.t, 3*time.Second, gaps[false])
		must.LessEq(p.t, budget, gaps[true])
	})
}

// TestPrefetch_NotPulled checks that nothing is registered and nothing remains if an image does not exist, if
// the time is over, and if the command is interrupted.
func TestPrefetch_NotPulled(t *testing.T) {
	withSlowRegistry(t, func(p *prefetching) {
		p.id = "web"
		p.templater("run", p.file(p.registry.push(p.t, "web:1")))
		slow := p.file(p.registry.push(p.t, "web:2"))
		for name, tc := range map[string]struct {
			args      []string
			interrupt bool
			want      string
		}{
			"missing":     {[]string{"run", "-prefetch", p.file(p.registry.host + "/web:missing")}, false, "image not found"},
			"timeout":     {[]string{"run", "-prefetch", "-prefetch-timeout", "1s", slow}, false, "not pulled in advance within 1s"},
			"interrupted": {[]string{"run", "-prefetch", slow}, true, "interrupt signal received"},
		} {
			p.t.Run(name, func(t *testing.T) {
				cmd, out := p.command(tc.args...)
				before := p.registry.blobs.Load()
				must.NoError(t, cmd.Start())
				for deadline := time.Now().Add(maxWait); tc.interrupt && p.registry.blobs.Load() == before; time.Sleep(20 * time.Millisecond) {
					must.True(t, time.Now().Before(deadline))
				}
				if tc.interrupt {
					must.NoError(t, cmd.Process.Signal(syscall.SIGINT))
				}
				must.Error(t, cmd.Wait())
				must.StrContains(t, out.String(), tc.want)
				must.StrContains(t, out.String(), "Nothing was changed")
				must.SliceEmpty(t, p.leftovers())
				must.Eq(t, 0, p.version("web"))
			})
		}
	})
}
