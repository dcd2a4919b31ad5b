package userns

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"
)

const first = 0x70000000

func pool(t *testing.T, ranges uint32) Pool {
	t.Helper()
	return Pool{Dir: filepath.Join(t.TempDir(), "ids"), First: first, Count: ranges*Size + 1}
}

func claim(t *testing.T, p Pool, owner string) Range {
	t.Helper()
	r, err := p.Claim(owner)
	must.NoError(t, err)
	return r
}

func TestPool_Claim(t *testing.T) {
	p := pool(t, 2)
	must.NoError(t, p.Release("nobody"), must.Sprint("without a directory"))
	a, b := claim(t, p, "a"), claim(t, p, "b")
	must.Eq(t, Range{first}, a)
	must.Eq(t, Range{first + Size}, b)
	must.Eq(t, a, claim(t, p, "a"), must.Sprint("second call"))
	_, err := p.Claim("c")
	must.ErrorIs(t, err, ErrExhausted)
	must.ErrorContains(t, err, "all 2 ranges")
	must.NoError(t, p.Release("a"))
	must.NoError(t, p.Release("a"))
	must.Eq(t, a, claim(t, p, "c"))
}

// Ranges of a pool that the operator has moved do not overlap those that pods still have.
func TestPool_Moved(t *testing.T) {
	p := pool(t, 3)
	claim(t, p, "a")
	p.First += Size / 2
	must.Eq(t, Range{p.First + Size}, claim(t, p, "b"))
	p.Count = 0
	_, err := p.Claim("c")
	must.ErrorIs(t, err, ErrExhausted)
	must.Eq(t, Range{first}, claim(t, p, "a"))
}

func TestPool_Damaged(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"file":      func(path string) error { return os.WriteFile(path, []byte("a"), 0o600) },
		"directory": func(path string) error { return os.MkdirAll(filepath.Join(path, "full"), 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			p := pool(t, 2)
			a := claim(t, p, "a")
			must.NoError(t, os.Remove(p.path(a)))
			must.NoError(t, damage(p.path(a)))
			must.NoError(t, os.WriteFile(filepath.Join(p.Dir, "notes"), nil, 0o600))
			must.Eq(t, Range{first + Size}, claim(t, p, "b"), must.Sprint("the damaged record keeps its range"))
			must.NoError(t, p.Keep("a", a))
			must.NoError(t, p.Keep("a", a))
			must.Eq(t, a, claim(t, p, "a"))
			must.ErrorContains(t, p.Keep("c", a), "belong to a too")
		})
	}
}

func TestPool_Sweep(t *testing.T) {
	p := pool(t, 3)
	claim(t, p, "a")
	b := claim(t, p, "b")
	c := claim(t, p, "c")
	must.NoError(t, os.Remove(p.path(c)))
	must.NoError(t, os.WriteFile(p.path(c), nil, 0o600))
	var owners []string
	must.NoError(t, p.Sweep(func(_ Range, owner string) bool {
		owners = append(owners, owner)
		return owner == "b"
	}))
	must.SliceContainsAll(t, []string{"a", "b", ""}, owners)
	must.Eq(t, b, claim(t, p, "b"))
	must.Eq(t, Range{first}, claim(t, p, "d"))
}

// claimerEnv makes this test binary claim and release ranges of a pool in the directory until it is
// killed, and print each.
const claimerEnv = "USERNS_TEST_CLAIMER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(claimerEnv); dir != "" {
		p := Pool{Dir: dir, First: first, Count: 3 * Size}
		for i := 0; ; i++ {
			owner := fmt.Sprintf("%d.%d", os.Getpid(), i)
			if r, err := p.Claim(owner); err == nil {
				fmt.Println("has", owner, r.First)
				fmt.Println("ends", owner, r.First)
				_ = p.Release(owner) // a later release of the parent would find it
			}
		}
	}
	os.Exit(m.Run())
}

// TestPool_Killed kills processes that claim and release ranges at random times: no two owners have
// the same range, and no range is lost.
func TestPool_Killed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ids")
	p := Pool{Dir: dir, First: first, Count: 3 * Size}
	total := 0
	for range 40 {
		var claimers []*exec.Cmd
		var outputs []*bufio.Scanner
		for range 2 {
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = []string{claimerEnv + "=" + dir}
			out, err := cmd.StdoutPipe()
			must.NoError(t, err)
			must.NoError(t, cmd.Start())
			claimers, outputs = append(claimers, cmd), append(outputs, bufio.NewScanner(out))
		}
		for i, out := range outputs {
			must.True(t, out.Scan())
			timer := time.AfterFunc(time.Duration(rand.IntN(10))*time.Millisecond, func() { _ = claimers[i].Process.Kill() })
			for out.Scan() {
				total++
			}
			_ = claimers[i].Wait()
			timer.Stop()
		}
		owners := map[string]bool{}
		must.NoError(t, p.Sweep(func(r Range, owner string) bool {
			must.NotEq(t, "", owner, must.Sprint("half a record"))
			must.False(t, owners[owner], must.Sprint("two ranges of one owner"))
			must.Zero(t, (r.First-first)%Size)
			owners[owner] = true
			return false
		}))
		must.LessEq(t, 2, len(owners), must.Sprint("records of killed processes"))
	}
	must.Positive(t, total)
	for _, owner := range strings.Fields("a b c") {
		claim(t, p, owner)
	}
}
