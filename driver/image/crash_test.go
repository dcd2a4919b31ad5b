package image_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"go.podman.io/storage"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/leakcheck"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testtimeout"
)

// startChild starts this binary as a child with a store at h. The child is killed at the end of
// the test.
func startChild(t *testing.T, h home, verb, ref string) (*exec.Cmd, io.Reader) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"="+strings.Join([]string{verb, h.dir, h.conf.RegistriesConf, ref}, "\n"))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must.NoError(t, err)
	must.NoError(t, cmd.Start())
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			kill(t, cmd)
		}
	})
	return cmd, out
}

func kill(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	must.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	must.True(t, ok && status.Signal() == syscall.SIGKILL, must.Sprint("child was not killed: ", cmd.ProcessState))
}

// The child is killed after one layer was unpacked and half of the next one was received.
func TestEnsure_KilledMidPull(t *testing.T) {
	h, hub := hubHome(t)
	first, second := bytesLayer(t, 1<<20), bytesLayer(t, 2<<20)
	hub.push(t, "app:1", build(t, "amd64", first, second))
	begun := make(chan struct{})
	var once sync.Once
	halfway(t, hub, second, func(r *http.Request) {
		once.Do(func() { close(begun) })
		<-r.Context().Done()
	})
	cmd, _ := startChild(t, h, "pull", hub.ref("app:1"))
	<-begun
	poll(t, "the first layer", func() bool { return len(h.layerDirs(t)) > 0 })
	kill(t, cmd)
	left, err := os.ReadDir(h.root("tmp"))
	must.NoError(t, err)
	must.SliceNotEmpty(t, left, must.Sprint("no partial download: the pull was killed too late"))

	hub.set(func() { hub.intercept = nil })
	s := h.open(t)
	left, err = os.ReadDir(h.root("tmp"))
	must.NoError(t, err)
	must.SliceEmpty(t, left)
	must.SliceEmpty(t, h.layerDirs(t))
	img := ensure(t, s, hub.ref("app:1"), image.PullOptions{})
	mount(t, s, "c", img)
}

func poll(t *testing.T, what string, reached func() bool) {
	t.Helper()
	deadline := time.After(testtimeout.Scale(30 * time.Second))
	for !reached() {
		select {
		case <-deadline:
			t.Fatalf("timed out waiting for %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// The child is killed repeatedly at random points while it mounts and releases.
func TestMount_Killed(t *testing.T) {
	h, hub := hubHome(t)
	hub.push(t, "app:1", hello(t, "whole"))
	for round := range 12 {
		cmd, out := startChild(t, h, "churn", hub.ref("app:1"))
		// The kill hits the code that follows this number of checkpoints.
		_, err := io.ReadFull(out, make([]byte, 1+round))
		must.NoError(t, err)
		kill(t, cmd)

		s, err := image.Open(h.conf)
		must.NoError(t, err)
		img := ensure(t, s, hub.ref("app:1"), image.PullOptions{Policy: image.PullNever})
		ids, err := s.Containers(testContext(t))
		must.NoError(t, err)
		for _, id := range ids {
			must.Eq(t, "whole", contents(t, mount(t, s, id, img), "etc/hello"))
			must.NoError(t, s.Release(testContext(t), id))
		}
		must.SliceEmpty(t, leakcheck.MountsBelow(t, h.dir))
		must.SliceLen(t, 1, h.layerDirs(t), must.Sprint("layers of the image"))
		must.NoError(t, s.Close())
	}
}

// A crash between the two steps of creating a container leaves a layer without a record. Mount
// creates the container again; Release and Open delete the layer.
func TestMount_HalfCreated(t *testing.T) {
	h := newHome(t)
	s := h.open(t)
	img := local(t, s, hello(t, "x"))
	sum := sha256.Sum256([]byte("c"))
	key := hex.EncodeToString(sum[:])
	half := func() {
		// the store that s has open
		raw, err := storage.GetStore(storage.StoreOptions{
			GraphRoot: h.conf.Root, RunRoot: h.conf.RunRoot, GraphDriverName: "overlay",
		})
		must.NoError(t, err)
		_, err = raw.CreateLayer(key, "", nil, "", true, nil)
		must.NoError(t, err)
		must.SliceContains(t, h.layerDirs(t), key)
	}
	half()
	must.NoError(t, s.Release(testContext(t), "c"))
	must.SliceNotContains(t, h.layerDirs(t), key)

	half()
	must.Eq(t, "x", contents(t, mount(t, s, "c", img), "etc/hello"))
	must.NoError(t, s.Release(testContext(t), "c"))

	half()
	must.NoError(t, s.Close())
	h.open(t)
	must.SliceNotContains(t, h.layerDirs(t), key)
}

// A crash between the two steps of deleting a container leaves a record without a layer. Mount
// creates the container again; Release deletes the record.
func TestMount_HalfDeleted(t *testing.T) {
	h := newHome(t)
	img := local(t, h.open(t), hello(t, "x"))
	for _, then := range []func(s *image.Store){
		func(s *image.Store) { must.Eq(t, "x", contents(t, mount(t, s, "c", img), "etc/hello")) },
		func(*image.Store) {},
	} {
		s, err := image.Open(h.conf)
		must.NoError(t, err)
		mount(t, s, "c", img)
		must.NoError(t, s.Close())
		for _, dir := range leakcheck.MountsBelow(t, h.dir) {
			must.NoError(t, unix.Unmount(dir, 0))
		}
		// The list that the store writes before it deletes a layer's files.
		list := filepath.Join(h.conf.RunRoot, "overlay-layers", "volatile-layers.json")
		text, err := os.ReadFile(list)
		must.NoError(t, err)
		var layers []map[string]any
		must.NoError(t, json.Unmarshal(text, &layers))
		must.Len(t, 1, layers)
		layers[0]["flags"] = map[string]any{"incomplete": true}
		text, err = json.Marshal(layers)
		must.NoError(t, err)
		must.NoError(t, os.WriteFile(list, text, 0o600))

		s, err = image.Open(h.conf)
		must.NoError(t, err)
		ids, err := s.Containers(testContext(t))
		must.NoError(t, err)
		must.Eq(t, []string{"c"}, ids)
		then(s)
		must.NoError(t, s.Release(testContext(t), "c"))
		ids, err = s.Containers(testContext(t))
		must.NoError(t, err)
		must.SliceEmpty(t, ids)
		must.NoError(t, s.Close())
	}
}

// A container created before a crash is used unchanged.
func TestMount_SurvivesProcess(t *testing.T) {
	h := newHome(t)
	s := h.open(t)
	img := local(t, s, hello(t, "x"))
	path := mount(t, s, "c", img)
	must.NoError(t, os.WriteFile(path+"/kept", []byte("kept"), 0o600))
	must.NoError(t, s.Close())

	s = h.open(t)
	must.SliceLen(t, 1, leakcheck.MountsBelow(t, h.dir))
	must.Eq(t, path, mount(t, s, "c", img))
	must.Eq(t, "kept", contents(t, path, "kept"))
	must.NoError(t, s.Release(testContext(t), "c"))
	must.SliceEmpty(t, leakcheck.MountsBelow(t, h.dir))
}

// After a reboot mounts, RunRoot and containers are gone; images remain.
func TestOpen_AfterReboot(t *testing.T) {
	h := newHome(t)
	s := h.open(t)
	img := local(t, s, hello(t, "x"))
	path := mount(t, s, "c", img)
	must.NoError(t, s.Close())
	must.NoError(t, syscall.Unmount(path, 0))
	must.NoError(t, os.RemoveAll(h.conf.RunRoot))

	s = h.open(t)
	ids, err := s.Containers(testContext(t))
	must.NoError(t, err)
	must.SliceEmpty(t, ids)
	must.SliceLen(t, 1, h.layerDirs(t), must.Sprint("layers of the image"))
	must.Eq(t, "x", contents(t, mount(t, s, "c", img), "etc/hello"))
}

// Opening a store or collecting garbage does not delete files of a pull in another process,
// simulated here by a second store.
func TestSweep_PullInProgress(t *testing.T) {
	h, hub := hubHome(t)
	hub.push(t, "app:1", build(t, "amd64", bytesLayer(t, 1<<20)))
	stalled := stall(t, hub)
	s := h.open(t)
	result := make(chan error, 1)
	go func() {
		_, err := s.Ensure(context.Background(), parse(t, hub.ref("app:1")), image.PullOptions{})
		result <- err
	}()
	<-stalled.begun
	must.NoError(t, os.WriteFile(h.root("tmp", "of-the-pull"), nil, 0o600))
	_, err := s.GC(testContext(t), 0)
	must.NoError(t, err)
	_, err = os.Stat(h.root("tmp", "of-the-pull"))
	must.NoError(t, err)
	stalled.release()
	must.NoError(t, <-result)
	_, err = s.GC(testContext(t), 0)
	must.NoError(t, err)
	_, err = os.Stat(h.root("tmp", "of-the-pull"))
	must.ErrorIs(t, err, os.ErrNotExist)
}
