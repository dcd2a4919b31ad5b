package e2e

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/matrix"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testimage"
)

// manifests is the directory of the importer's test manifests.
const manifests = repository + "/templater/kube/testdata"

// imported is a manifest that is imported and run as a job.
type imported struct {
	file, job string
	count     int // number of allocations
	check     func(c *cluster, allocs []*api.Allocation)
}

// hasOutput checks the output of a task of the first allocation.
func hasOutput(task, text string) func(*cluster, []*api.Allocation) {
	return func(c *cluster, allocs []*api.Allocation) { c.waitLog(allocs[0], task, "stdout", text) }
}

func importedJobs() []imported {
	return []imported{
		{"web.yaml", "web", 2, checkImportedWeb},
		{"init.yaml", "prepared", 1, hasOutput("server", "serving content")},
		{"sidecar.yaml", "with-sidecar", 1, hasOutput("app", "the proxy was ready")},
		{"stateful.yaml", "peers", 2, func(c *cluster, allocs []*api.Allocation) {
			for _, a := range allocs {
				name := "peers-" + regexp.MustCompile(`\[(\d+)\]$`).FindStringSubmatch(a.Name)[1]
				c.waitLog(a, "peer", "stdout", "I am "+name+" on "+name)
			}
		}},
		{"daemon.yaml", "log-agent", 1, func(c *cluster, allocs []*api.Allocation) {
			hasOutput("agent", "node "+allocs[0].NodeName)(c, allocs)
		}},
		{"job.yaml", "indexed", 2, func(c *cluster, allocs []*api.Allocation) {
			for _, a := range allocs {
				i := regexp.MustCompile(`\[(\d+)\]$`).FindStringSubmatch(a.Name)[1]
				c.waitLog(a, "work", "stdout", "part "+i+" of 2 on indexed-"+i)
				c.waitAlloc(a.ID, api.AllocClientStatusComplete)
			}
		}},
		{"cron.yaml", "backup", 1, hasOutput("dump", `backup of shop "main" is done`)},
		{"secret.yaml", "client", 1, func(c *cluster, allocs []*api.Allocation) {
			const password = `s3cr$et "quoted" ${HOME}`
			hasOutput("client", "db://"+password+"@host/$(NAME)")(c, allocs)
			must.Eq(c.t, password, c.exec(allocs[0], "client", "cat", "/etc/login/db/password"))
			must.Eq(c.t, "\x00\xff\xfe", c.exec(allocs[0], "client", "cat", "/etc/login/key.bin"))
		}},
		{"security.yaml", "confined", 1, func(c *cluster, allocs []*api.Allocation) {
			out := c.waitLog(allocs[0], "confined", "stdout", "scratch")
			must.StrContains(c.t, out, "uid=1000 gid=3000 groups=3000,2000")
			must.StrContains(c.t, out, "read-only")
		}},
		{"processes.yaml", "together", 1, func(c *cluster, allocs []*api.Allocation) {
			c.eventually("each container sees the other's process", func() error {
				out := c.exec(allocs[0], "watcher", "sh", "-c", `for p in /proc/[0-9]*; do cat $p/cmdline 2>/dev/null || true; done`)
				if !strings.Contains(out, "3611") || !strings.Contains(out, "3612") {
					return fmt.Errorf("processes: %q", out)
				}
				return nil
			})
			must.Eq(c.t, "together-host\n", c.exec(allocs[0], "app", "hostname"))
			must.StrContains(c.t, c.exec(allocs[0], "app", "cat", "/etc/hosts"), "192.0.2.7")
			must.StrContains(c.t, c.exec(allocs[0], "app", "cat", "/etc/resolv.conf"), "192.0.2.53")
		}},
		{"memory.yaml", "in-memory", 1, hasOutput("reader", "hot")},
		{"downward.yaml", "self-aware", 1, checkImportedDownward},
	}
}

func checkImportedWeb(c *cluster, allocs []*api.Allocation) {
	c.eventually("both pods are listed as ready", func() error {
		for _, a := range allocs {
			checks, err := c.Client().Allocations().Checks(a.ID, nil)
			if err != nil {
				return err
			}
			if len(checks) != 1 {
				return fmt.Errorf("%d checks", len(checks))
			}
			for _, check := range checks {
				if check.Status != "success" {
					return fmt.Errorf("check is %s: %s", check.Status, check.Output)
				}
			}
		}
		return nil
	})
	a := allocs[0]
	const config = "listen = 0.0.0.0:8080\nhome = ${HOME}\ntemplate = {{ .Title }}\n"
	must.Eq(c.t, config, c.exec(a, "web", "cat", "/etc/web/app.conf"))
	must.Eq(c.t, config, c.exec(a, "web", "cat", "/etc/app.conf"))
	must.Eq(c.t, "two lines\nwithout a newline at the end", c.exec(a, "web", "cat", "/etc/web/banner"))
	must.Eq(c.t, "\x00\x01\x02\xff", c.exec(a, "web", "cat", "/etc/web/logo.bin"))
	must.Eq(c.t, "", c.exec(a, "web", "cat", "/etc/web/empty"))
	must.Eq(c.t, "info Hello, ${USER}\n", c.exec(a, "web", "sh", "-c", `echo "$LOG_LEVEL $GREETING"`))
}

func checkImportedDownward(c *cluster, allocs []*api.Allocation) {
	a := allocs[0]
	out := c.exec(a, "app", "sh", "-c", `echo "$ZONE $NAMESPACE $POD_UID $MEMORY $CPUS $POD_IP $URL"`)
	fields := strings.Fields(out)
	must.SliceLen(c.t, 7, fields, must.Sprint(out))
	must.Eq(c.t, []string{"north", a.Namespace, a.ID, "16", "1"}, fields[:5])
	must.RegexMatch(c.t, regexp.MustCompile(`^\d+\.\d+\.\d+\.\d+$`), fields[5])
	must.Eq(c.t, "http://"+fields[5]+":8080/north/$(UNDEFINED)", fields[6])
	must.Eq(c.t, "tier=\"1\"\nzone=\"north\"", c.exec(a, "app", "cat", "/etc/podinfo/labels"))
	must.Eq(c.t, a.NodeName, c.exec(a, "app", "cat", "/etc/podinfo/node"))
}

// TestImport_Runs runs twelve manifests as jobs and checks that they behave as their pods would.
func TestImport_Runs(t *testing.T) {
	onSharedAgent(t, matrix.One(), func(c *cluster) {
		image := toolsImage(c.t)
		jobs := importedJobs()
		for _, j := range jobs {
			c.startImported(j, image)
		}
		for _, j := range jobs {
			c.t.Run(j.job, func(t *testing.T) {
				c := &cluster{c.Agent, t, c.ctx}
				j.check(c, c.allocsOf(j))
			})
		}
	})
}

// startImported imports a manifest, stores its Secrets and registers the job.
func (c *cluster) startImported(j imported, image string) {
	c.t.Helper()
	dir := c.t.TempDir()
	out, err := exec.CommandContext(c.t.Context(), program(c.t, "nomad-sidecar"), "import", "-out", dir, filepath.Join(manifests, j.file)).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 { // 3: written, with warnings
		must.NoError(c.t, err, must.Sprint(string(out)))
	}
	if text, err := os.ReadFile(filepath.Join(dir, j.job+".variable.json")); err == nil {
		var v api.Variable
		must.NoError(c.t, json.Unmarshal(text, &v))
		_, _, err := c.Client().Variables().Create(&v, nil)
		must.NoError(c.t, err)
	}
	text, err := os.ReadFile(filepath.Join(dir, j.job+".nomad.hcl"))
	must.NoError(c.t, err)
	// As PID 1 the commands ignore SIGTERM, so kill them sooner.
	hcl := strings.NewReplacer(`"busybox:1.36"`, fmt.Sprintf("%q", image), `kill_timeout = "30s"`, `kill_timeout = "2s"`).Replace(string(text))
	job, err := c.Client().Jobs().ParseHCL(hcl, true)
	must.NoError(c.t, err)
	_, _, err = c.Client().Jobs().Register(job, nil)
	must.NoError(c.t, err)
	if job.IsPeriodic() {
		_, _, err = c.Client().Jobs().PeriodicForce(j.job, nil)
		must.NoError(c.t, err)
	}
}

// allocsOf waits for the allocations of a job, or of one run of a periodic job.
func (c *cluster) allocsOf(j imported) []*api.Allocation {
	c.t.Helper()
	var allocs []*api.Allocation
	c.eventually("job "+j.job+" runs", func() error {
		stubs, _, err := c.Client().Allocations().List(nil)
		if err != nil {
			return err
		}
		allocs = nil
		for _, s := range stubs {
			if id, _, _ := strings.Cut(s.JobID, "/"); id != j.job || s.ClientStatus == api.AllocClientStatusPending {
				continue
			}
			a, err := c.Alloc(s.ID)
			if err != nil {
				return err
			}
			allocs = append(allocs, a)
		}
		if len(allocs) < j.count {
			return fmt.Errorf("%d of %d allocations have started", len(allocs), j.count)
		}
		return nil
	})
	return allocs
}

// toolsImage creates an image of a shell, some commands and the example's web server, and returns
// its reference.
func toolsImage(t *testing.T) string {
	t.Helper()
	files := map[string]string{"bin/webapp": program(t, "webapp")}
	for name, of := range map[string]string{"sh": "dash", "cat": "cat", "sleep": "sleep", "touch": "touch", "id": "id", "hostname": "hostname", "test": "test"} {
		path, err := exec.LookPath(of)
		must.NoError(t, err)
		files["bin/"+name] = path
		out, err := exec.CommandContext(t.Context(), "ldd", path).Output()
		must.NoError(t, err)
		for _, lib := range regexp.MustCompile(`/\S+\.so\S*`).FindAllString(string(out), -1) {
			files[strings.TrimPrefix(lib, "/")] = lib
		}
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	for name, path := range files {
		content, err := os.ReadFile(path)
		must.NoError(t, err)
		must.NoError(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content))}))
		_, err = w.Write(content)
		must.NoError(t, err)
	}
	must.NoError(t, w.Close())
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer.Bytes())), nil })
	must.NoError(t, err)
	img, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{Architecture: "amd64", OS: "linux", RootFS: v1.RootFS{Type: "layers"}})
	must.NoError(t, err)
	img, err = mutate.AppendLayers(img, l)
	must.NoError(t, err)
	return testimage.Layout(t, t.TempDir(), img)
}
