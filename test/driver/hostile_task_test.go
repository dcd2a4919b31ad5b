package driver_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/helper/uuid"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/leakcheck"
)

// Attacks from inside a pod by the program test/cmd/hostiletask.

// cell is one combination of settings to run the program with.
type cell struct {
	sharePID, image bool
	user            string // "" for the user of the image
	privileged      bool
	exec            bool // as a command in a running task
}

func (c cell) String() string {
	name := "own_pid"
	if c.sharePID {
		name = "shared_pid"
	}
	if c.image {
		name += ",image"
	}
	if c.privileged {
		name += ",privileged"
	}
	if c.exec {
		name += ",exec"
	}
	user := c.user
	if user == "" {
		user = "image_user"
	}
	return name + "," + user
}

func (c cell) root() bool { return c.user == "0" }

// cells returns all combinations.
func cells() []cell {
	var all []cell
	for _, share := range []bool{true, false} {
		for _, image := range []bool{true, false} {
			for _, user := range []string{"0", "65534", ""} {
				if user != "" || image {
					all = append(all, cell{sharePID: share, image: image, user: user})
				}
			}
		}
		all = append(all, cell{sharePID: share, user: "0", exec: true}, cell{sharePID: share, user: "65534", exec: true})
	}
	return all
}

// attemptResult is one line of the program's report.
type attemptResult struct {
	Attempt, Verdict, Detail string
	Errno, Millis            int
}

// hostileEnv names the built program on machines without a compiler.
const hostileEnv = "POD_TEST_HOSTILETASK"

// hostileProgram builds the program.
func hostileProgram(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hostiletask")
	if built := os.Getenv(hostileEnv); built != "" {
		program, err := os.ReadFile(built)
		must.NoError(t, err)
		must.NoError(t, os.WriteFile(path, program, 0o755))
		return path
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "../cmd/hostiletask")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	must.NoError(t, err, must.Sprint(string(out)))
	return path
}

// attackTargets is a node with targets for the program: siblings of several users in its pod, and
// another allocation with a secret.
type attackTargets struct {
	*node
	program, image string
	other          *bystander
	hostPaths      string
	pods           map[string]string // allocation IDs by shared namespaces
}

func newAttackTargets(t *testing.T, runtime, program, image string) *attackTargets {
	t.Helper()
	b := &attackTargets{program: program, image: image, pods: map[string]string{}}
	b.node = newNode(t, func(c *driver.PluginConfig) {
		c.Runtime, c.LogCollector, c.PidsLimit, c.AllowPrivileged = runtime, "pod", 128, true
	})
	b.other = b.startBystander()
	secret := filepath.Join(b.other.TaskDir().SecretsDir, "secret")
	must.NoError(t, os.WriteFile(secret, []byte("secret"), 0o644))
	b.hostPaths = b.config.RunDir + "," + b.config.DataDir + "," + secret + ",/etc/shadow,/dev/kmsg"
	return b
}

// pod returns the ID of an allocation with siblings for the program.
func (b *attackTargets) pod(c cell) string {
	key := fmt.Sprint(c.sharePID, c.image)
	if b.pods[key] == "" {
		b.pods[key] = uuid.Generate()
		for _, user := range []string{"0", "65534", "1234"} {
			b.newTask(b.pods[key], "sibling-"+user, shared(sh("exec sleep 600"), c), func(t *drivers.TaskConfig) { withoutCollector(t); t.User = user }).start()
		}
	}
	return b.pods[key]
}

func shared(config driver.TaskConfig, c cell) driver.TaskConfig {
	config.Share = []string{"ipc", "uts"}
	if c.sharePID {
		config.Share = append(config.Share, "pid")
	}
	return config
}

// attack runs the program in a cell and returns its report.
func (b *attackTargets) attack(t *testing.T, c cell, seed uint64) []attemptResult {
	t.Helper()
	report := fmt.Sprintf("/alloc/data/report-%s.json", uuid.Short())
	args := []string{"-report", report, "-seed", fmt.Sprint(seed), "-host-paths", b.hostPaths}
	config := shared(driver.TaskConfig{Command: "/local/hostiletask", Args: args, Privileged: c.privileged}, c)
	if c.exec {
		config = shared(sh("exec sleep 600"), c)
	}
	if c.image {
		config.Image, config.Command, config.Entrypoint = b.image, "", []string{config.Command}
	}
	tk := b.newTask(b.pod(c), "hostile", config, func(t *drivers.TaskConfig) { withoutCollector(t); t.User = c.user })
	text, err := os.ReadFile(b.program)
	must.NoError(t, err)
	must.NoError(t, os.WriteFile(filepath.Join(tk.TaskDir().LocalDir, "hostiletask"), text, 0o755))
	tk.start()
	if c.exec {
		b.execute(t, tk, args)
	}
	exit := tk.wait()
	got := readReport(t, filepath.Join(tk.TaskDir().SharedAllocDir, "data", filepath.Base(report)))
	if !c.exec {
		must.Zero(t, exit.ExitCode, must.Sprintf("%+v: ended after %v\n%s", exit, got, tk.logged("stderr")))
	}
	must.Zero(t, leakcheck.Running(t, "hostiletask"), must.Sprint("processes of the attack after the end of the task"))
	must.FileNotExists(t, filepath.Join(tk.TaskDir().SharedAllocDir, "data/bomb"))
	return got
}

// execute runs the program as a command in the task, and stops the task.
func (b *attackTargets) execute(t *testing.T, tk *task, args []string) {
	t.Helper()
	res, err := b.ExecTask(tk.ID, append([]string{"/local/hostiletask"}, args...), 4*maxWait)
	must.NoError(t, err)
	must.Zero(t, res.ExitResult.ExitCode, must.Sprint(string(res.Stderr)))
	must.NoError(t, b.StopTask(tk.ID, 0, "SIGKILL"))
}

func readReport(t *testing.T, path string) []attemptResult {
	t.Helper()
	f, err := os.Open(path)
	must.NoError(t, err)
	defer f.Close()
	var all []attemptResult
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var r attemptResult
		must.NoError(t, json.Unmarshal(lines.Bytes(), &r))
		all = append(all, r)
	}
	return all
}

// verdicts counts attempts by verdict.
type verdicts struct{ attempts, denied, allowed, absent int }

// judge fails the test for each unexpected verdict.
func (v *verdicts) judge(t *testing.T, c cell, results []attemptResult) {
	t.Helper()
	seen := map[string]bool{}
	for _, r := range results {
		expected := c.expected(r.Attempt)
		if c.privileged {
			if expected = control(r.Attempt); lacking(r.Errno) {
				continue
			}
		}
		must.False(t, seen[r.Attempt], must.Sprintf("%s is reported twice", r.Attempt))
		seen[r.Attempt] = true
		if !slices.Contains(expected, r.Verdict) {
			t.Errorf("%s: %s: %s (%s), want %s", c, r.Attempt, r.Verdict, r.Detail, strings.Join(expected, " or "))
		}
		v.attempts++
		switch r.Verdict {
		case allowed:
			v.allowed++
		case absent:
			v.absent++
		default:
			v.denied++
		}
	}
	must.Greater(t, 100, len(results), must.Sprint("report is truncated"))
}

// adversary returns the duration and the seed of random attacks. A short run has a fixed seed.
func adversary(t *testing.T) (length time.Duration, seed uint64, short bool) {
	t.Helper()
	text := os.Getenv("POD_TEST_ADVERSARY")
	if text == "" {
		return 0, 1, true
	}
	length, err := time.ParseDuration(text)
	must.NoError(t, err, must.Sprint("POD_TEST_ADVERSARY"))
	seed = rand.Uint64()
	if text := os.Getenv("POD_TEST_SEED"); text != "" {
		seed, err = strconv.ParseUint(text, 10, 64)
		must.NoError(t, err, must.Sprint("POD_TEST_SEED"))
	}
	t.Logf("adversary: seed %d", seed)
	return length, seed, false
}

// shortCells covers each setting once, distributed over both runtimes.
func shortCells(runtime string) []cell {
	if filepath.Base(runtime) == "runc" {
		return []cell{{sharePID: true, user: "0"}, {sharePID: true, image: true}, {user: "65534", exec: true}}
	}
	return []cell{{sharePID: true, user: "65534"}, {image: true, user: "0"}, {user: "0", exec: true}}
}

// TestHostileTask checks that every attempt is denied except those that SECURITY.md allows: for
// root, nobody and the image's user, with an own and a shared PID namespace, as a task and as a
// command.
func TestHostileTask(t *testing.T) {
	program := hostileProgram(t)
	image := pushed(t, insecureRegistry(t)+"/scratch:v1")
	withRuntimes(t, func(t *testing.T, runtime string) {
		length, seed, short := adversary(t)
		order, random := cells(), rand.New(rand.NewPCG(seed, 0))
		if short {
			order = shortCells(runtime)
		}
		b, sum, started := newAttackTargets(t, runtime, program, image), verdicts{}, time.Now()
		for round := 0; round == 0 || time.Since(started) < length; round++ {
			random.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
			for _, c := range order {
				sum.judge(t, c, b.attack(t, c, random.Uint64()))
				b.other.checkUnharmed()
			}
		}
		t.Logf("adversary: %s: from inside a pod: %d attempts: %d denied, %d allowed as documented, %d without a target, 0 hung, 0 crashed",
			filepath.Base(runtime), sum.attempts, sum.denied, sum.allowed, sum.absent)
	})
}

// TestHostileTask_KillsEveryProcess checks that a task that kills every process that it can
// reaches no other pod, and that its own pod still works.
func TestHostileTask_KillsEveryProcess(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		b, c := newAttackTargets(t, runtime, "", ""), cell{sharePID: true}
		alloc := b.pod(c)
		killer := b.newTask(alloc, "killer", shared(sh("kill -9 -1; sleep 0.1; echo done"), c), func(t *drivers.TaskConfig) { withoutCollector(t); t.User = "root" })
		killer.start()
		killer.wait()
		must.StrContains(t, killer.logged("stdout"), "done")
		b.other.checkUnharmed()
		after := b.newTask(alloc, "after", shared(sh("echo up"), c), withoutCollector)
		after.start()
		must.Zero(t, after.wait().ExitCode)
	})
}

// TestHostileTask_Privileged checks that the attempts succeed in a privileged task. This shows that
// the denials in the other tests come from the confinement.
func TestHostileTask_Privileged(t *testing.T) {
	program := hostileProgram(t)
	withOneRuntime(t, func(t *testing.T, runtime string) {
		b, c := newAttackTargets(t, runtime, program, ""), cell{privileged: true, user: "0", sharePID: true}
		sum := verdicts{}
		sum.judge(t, c, b.attack(t, c, 0))
		b.other.checkUnharmed()
	})
}
