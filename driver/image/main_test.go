package image_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/leakcheck"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testtimeout"
)

// childEnv makes this binary a child that performs one operation on a store, for tests that
// kill it: "verb\nroot\nregistries.conf\nreference".
const childEnv = "IMAGE_TEST_CHILD"

func TestMain(m *testing.M) {
	if image.Reexec() {
		return
	}
	if order := os.Getenv(childEnv); order != "" {
		if err := child(order); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(run(m))
}

// run runs all tests under a storage.conf that would break them if it were read.
func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "image-test-conf-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	conf := filepath.Join(dir, "storage.conf")
	hostile := "[storage]\ndriver = \"vfs\"\ngraphroot = \"" + dir + "/graph\"\nrunroot = \"" + dir + "/run\"\n" +
		"[storage.options.overlay]\nmountopt = \"metacopy=on,ro\"\nmount_program = \"/nonexistent\"\n"
	if err := os.WriteFile(conf, []byte(hostile), 0o600); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	os.Setenv("CONTAINERS_STORAGE_CONF", conf)
	code := m.Run()
	for _, leaked := range []string{"graph", "run"} {
		if _, err := os.Stat(filepath.Join(dir, leaked)); !errors.Is(err, os.ErrNotExist) {
			fmt.Fprintf(os.Stderr, "storage.conf leaked in: %s was made (%v)\n", leaked, err)
			code = 1
		}
	}
	return code
}

func child(order string) error {
	part := strings.Split(order, "\n")
	if part[0] == "attacked" {
		return attacked(part[1], part[2])
	}
	s, err := image.Open(image.Config{
		Root: filepath.Join(part[1], "root"), RunRoot: filepath.Join(part[1], "run"), RegistriesConf: part[2],
	})
	if err != nil {
		return err
	}
	ref, err := image.ParseReference(part[3])
	if err != nil {
		return err
	}
	ctx := context.Background()
	img, err := s.Ensure(ctx, ref, image.PullOptions{})
	if err != nil || part[0] == "pull" {
		return err
	}
	out := bufio.NewWriterSize(os.Stdout, 1)
	for i := 0; ; i++ { // part[0] == "churn"
		id := fmt.Sprintf("alloc/%d/task", i%3)
		if _, err := s.Mount(ctx, id, img); err != nil {
			return err
		}
		out.WriteString("m")
		out.Flush()
		if i%3 == 2 {
			for j := range 3 {
				if err := s.Release(ctx, fmt.Sprintf("alloc/%d/task", j)); err != nil {
					return err
				}
				out.WriteString("r")
				out.Flush()
			}
		}
	}
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts overlay")
	}
}

// home is the directory of a store; leftover mounts fail the test.
type home struct {
	dir  string
	conf image.Config
}

func newHome(t testing.TB) home {
	t.Helper()
	needRoot(t)
	dir := t.TempDir()
	t.Cleanup(func() {
		mounts := leakcheck.MountsBelow(t, dir)
		for _, m := range mounts {
			t.Errorf("mount left behind: %s", m)
		}
	})
	return home{dir, image.Config{Root: filepath.Join(dir, "root"), RunRoot: filepath.Join(dir, "run")}}
}

func (h home) root(parts ...string) string {
	return filepath.Join(append([]string{h.conf.Root}, parts...)...)
}

// open opens the store and, at the end, releases all containers and closes it.
func (h home) open(t testing.TB) *image.Store {
	t.Helper()
	s, err := image.Open(h.conf)
	must.NoError(t, err)
	t.Cleanup(func() {
		ids, err := s.Containers(context.Background())
		if errors.Is(err, image.ErrClosed) {
			return
		}
		must.NoError(t, err)
		for _, id := range ids {
			must.NoError(t, s.Release(context.Background(), id))
		}
		must.NoError(t, s.Close())
	})
	return s
}

// layerDirs returns the layers on disk, with or without a record.
func (h home) layerDirs(t testing.TB) []string {
	t.Helper()
	var names []string
	entries, err := os.ReadDir(h.root("overlay"))
	if !errors.Is(err, os.ErrNotExist) { // otherwise no store was opened yet
		must.NoError(t, err)
	}
	for _, e := range entries {
		if len(e.Name()) == 64 {
			names = append(names, e.Name())
		}
	}
	return names
}

func parse(t testing.TB, s string) image.Reference {
	t.Helper()
	ref, err := image.ParseReference(s)
	must.NoError(t, err)
	ref, err = image.AllowedPaths{Paths: []string{"/"}}.Locate(ref)
	must.NoError(t, err)
	return ref
}

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testtimeout.Scale(time.Minute))
	t.Cleanup(cancel)
	return ctx
}

func ensure(t testing.TB, s *image.Store, ref string, o image.PullOptions) image.Image {
	t.Helper()
	img, err := s.Ensure(testContext(t), parse(t, ref), o)
	must.NoError(t, err)
	return img
}

func mount(t testing.TB, s *image.Store, id string, img image.Image) string {
	t.Helper()
	path, err := s.Mount(testContext(t), id, img)
	must.NoError(t, err)
	return path
}

func contents(t testing.TB, parts ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(parts...))
	must.NoError(t, err)
	return string(b)
}
