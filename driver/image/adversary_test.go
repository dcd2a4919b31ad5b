package image_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/hostileimage"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testtimeout"
)

const (
	attackTimeout  = 3 * time.Second // timeout of a pull
	attackSeed     = 20261130
	attacksOfTests = 20 // default number, which takes a few seconds
	maxPluginBytes = 300 << 20
)

// attempt is an image for the attacked process to pull, and verdict is the result.
type (
	attempt struct {
		Reference, Place string
		Timeout          time.Duration // of the pull
	}
	verdict struct {
		Error string
		Took  time.Duration
		Peak  int64 // peak memory of the process in bytes
	}
)

// attacked is the main function of the attacked process: it reads attempts and pulls their images.
func attacked(root, registries string) error {
	conf := image.Config{
		Root: filepath.Join(root, "root"), RunRoot: filepath.Join(root, "run"), RegistriesConf: registries,
		PullIdleTimeout: time.Second,
	}
	s, err := image.Open(conf)
	if err != nil {
		return err
	}
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var a attempt
		if err := in.Decode(&a); err != nil {
			break // no more attempts
		}
		began := time.Now()
		var v verdict
		if err := try(s, a); err != nil {
			v.Error = err.Error()
		}
		v.Took, v.Peak = time.Since(began), peak()
		if err := out.Encode(v); err != nil {
			return err
		}
	}
	if _, err := s.GC(context.Background(), 0); err != nil {
		return err
	}
	return s.Close()
}

func try(s *image.Store, a attempt) error {
	ref, err := image.ParseReference(a.Reference)
	if err == nil {
		ref, err = image.AllowedPaths{Paths: []string{a.Place}}.Locate(ref)
	}
	if err != nil {
		return err
	}
	o := image.PullOptions{Policy: image.PullAlways, Timeout: a.Timeout}
	if ref.Path() == "" {
		o.Username, o.Password = "ann", password
	}
	img, err := s.Ensure(context.Background(), ref, o)
	if err != nil {
		return err
	}
	if _, err := s.Mount(context.Background(), "c", img); err != nil {
		return err
	}
	return s.Release(context.Background(), "c")
}

// peak returns the peak memory of this process.
func peak() int64 {
	status, _ := os.ReadFile("/proc/self/status")
	for line := range bytes.Lines(status) {
		if rest, ok := bytes.CutPrefix(line, []byte("VmHWM:")); ok {
			kib, _ := strconv.ParseInt(strings.Fields(string(rest))[0], 10, 64)
			return kib << 10
		}
	}
	return 0
}

// attackEnv is an attacked process, a registry, and a file and an address that no image may reach.
type attackEnv struct {
	t             *testing.T
	home          home
	host, url     string
	secret        string
	image         atomic.Pointer[hostileimage.Image]
	asked, logins atomic.Int32
	in            *json.Encoder
	out           *bufio.Scanner
	end           func() error
	dir           string
	peak          int64
	counts        map[string]int
}

func newAttackEnv(t *testing.T) *attackEnv {
	a := &attackEnv{t: t, home: newHome(t), dir: t.TempDir(), counts: map[string]int{}}
	a.secret = filepath.Join(a.dir, "host", "secret")
	must.NoError(t, os.MkdirAll(filepath.Dir(a.secret), 0o755))
	must.NoError(t, os.WriteFile(a.secret, []byte(canary), 0o600))
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { a.image.Load().ServeHTTP(w, r) }))
	t.Cleanup(registry.Close)
	a.host = strings.TrimPrefix(registry.URL, "http://")
	a.url = a.metadata()
	conf := filepath.Join(a.dir, "registries.conf")
	must.NoError(t, os.WriteFile(conf, fmt.Appendf(nil, "[[registry]]\nlocation = %q\ninsecure = true\n", a.host), 0o600))
	a.start(conf)
	return a
}

// metadata returns an address of another host that responds with the canary.
func (a *attackEnv) metadata() string {
	listener, err := net.Listen("tcp", "127.0.0.2:0")
	must.NoError(a.t, err)
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a.asked.Add(1)%2 == 0 {
			w.WriteHeader(http.StatusForbidden)
		}
		if r.Header.Get("Authorization") != "" {
			a.logins.Add(1)
		}
		fmt.Fprint(w, canary)
	})}}
	server.Start()
	a.t.Cleanup(server.Close)
	return server.URL + "/latest/meta-data"
}

func (a *attackEnv) start(conf string) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"="+strings.Join([]string{"attacked", a.home.dir, conf, ""}, "\n"))
	var log bytes.Buffer
	cmd.Stderr = &log
	in, err := cmd.StdinPipe()
	must.NoError(a.t, err)
	out, err := cmd.StdoutPipe()
	must.NoError(a.t, err)
	must.NoError(a.t, cmd.Start())
	a.in, a.out = json.NewEncoder(in), bufio.NewScanner(out)
	a.end = func() error {
		_ = in.Close()
		_, _ = io.Copy(io.Discard, out)
		err := cmd.Wait()
		must.StrNotContains(a.t, log.String(), canary)
		return err
	}
	a.t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
}

// attack tries one image by one path.
func (a *attackEnv) attack(path, name string, seed uint64) {
	a.t.Helper()
	what := fmt.Sprintf("%s by %s, seed %d", name, path, seed)
	i := hostileimage.New(name, rand.New(rand.NewPCG(seed, 0)), a.secret, a.url)
	place := filepath.Join(a.dir, "task")
	must.NoError(a.t, os.MkdirAll(place, 0o755))
	reference := a.host + "/app:v1"
	if path == "registry" {
		a.image.Store(i)
	} else {
		var err error
		reference, err = i.Write(path, place)
		must.NoError(a.t, err, must.Sprint(what))
	}
	asked, logins := a.asked.Load(), a.logins.Load()
	timeout := attackTimeout
	if name == "none" { // must succeed, also on a busy machine
		timeout = testtimeout.Scale(time.Minute)
	}
	must.NoError(a.t, a.in.Encode(attempt{reference, place, timeout}), must.Sprint(what))
	answered := make(chan bool, 1)
	go func() { answered <- a.out.Scan() }()
	select {
	case ok := <-answered:
		must.True(a.t, ok, must.Sprintf("%s: the process crashed: %v", what, a.out.Err()))
	case <-time.After(testtimeout.Scale(10 * timeout)):
		a.t.Fatalf("%s: hang", what)
	}
	var v verdict
	must.NoError(a.t, json.Unmarshal(a.out.Bytes(), &v))
	must.StrNotContains(a.t, v.Error, canary, must.Sprint(what))
	must.StrNotContains(a.t, v.Error, "\x1b", must.Sprint(what))
	must.Less(a.t, 2048, len(v.Error), must.Sprint(what))
	must.Less(a.t, testtimeout.Scale(2*timeout+10*time.Second), v.Took, must.Sprintf("%s: %s", what, v.Error))
	must.Less(a.t, int64(maxPluginBytes), v.Peak, must.Sprint(what))
	if strings.HasPrefix(name, "manifest: urls") {
		must.Eq(a.t, asked, a.asked.Load(), must.Sprint(what, ": the client asked an address in the image"))
	}
	if strings.HasPrefix(name, "registry: redirect") {
		must.Eq(a.t, logins, a.logins.Load(), must.Sprint(what, ": the credentials went along"))
	}
	if name == "none" {
		must.Eq(a.t, "", v.Error, must.Sprint(what))
	}
	a.peak = max(a.peak, v.Peak)
	a.counts[path]++
	must.NoError(a.t, os.RemoveAll(place))
	a.t.Logf("%-55s %6.2fs  %s", what, v.Took.Seconds(), v.Error)
}

// checkLeftovers ends the process and checks that the attacks left nothing behind.
func (a *attackEnv) checkLeftovers() {
	must.NoError(a.t, a.end())
	s := a.home.open(a.t) // removes leftovers
	_, err := s.GC(testContext(a.t), 0)
	must.NoError(a.t, err)
	must.SliceEmpty(a.t, a.home.layerDirs(a.t))
	left, err := os.ReadDir(a.home.root("tmp"))
	must.NoError(a.t, err)
	must.SliceEmpty(a.t, left)
	must.Eq(a.t, canary, contents(a.t, a.secret))
	beside, err := os.ReadDir(filepath.Dir(a.secret))
	must.NoError(a.t, err)
	must.SliceLen(a.t, 1, beside)
	a.t.Logf("attacks by path: %v; peak memory of the process: %d MiB", a.counts, a.peak>>20)
}

// TestAdversary checks that a hostile image leaks no secrets, causes no hang or crash, and leaves
// nothing behind, on any path. POD_TEST_ADVERSARY=5m tries random images for that time.
func TestAdversary(t *testing.T) {
	a := newAttackEnv(t)
	seed, until := uint64(attackSeed), time.Time{}
	if text := os.Getenv("POD_TEST_ADVERSARY"); text != "" {
		long, err := time.ParseDuration(text)
		must.NoError(t, err)
		seed, until = uint64(time.Now().UnixNano()), time.Now().Add(long)
	}
	t.Log("seed ", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for _, path := range hostileimage.Paths() {
		a.attack(path, "none", seed)
	}
	a.attack("oci", "layout: fifo as index.json", seed)
	a.attack("oci", "layout: zeros as blob", seed)
	a.attack("oci", "layer: sparse", seed) // the library does not terminate
	a.attack("docker-archive", "archive: sparse", seed)
	a.attack("registry", "manifest: urls", seed)
	a.attack("registry", "registry: redirect /blobs/", seed)
	for n := 0; n < attacksOfTests || time.Now().Before(until); n++ {
		path := hostileimage.Paths()[n%len(hostileimage.Paths())]
		names := hostileimage.Attacks(path)
		a.attack(path, names[r.IntN(len(names))], r.Uint64())
	}
	a.checkLeftovers()
}
