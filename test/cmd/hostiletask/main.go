// Command hostiletask tries to break out of its pod, or to exceed the pod's limits, and reports each
// attempt as a line of JSON.
//
// A successful attempt does no harm: it stops before it could, or writes a value back unchanged. The
// test that runs this program contains the expected verdicts.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// attemptTimeout bounds an attempt. No attempt needs a tenth of it, or half of it on
// user-mode-linux.
const attemptTimeout = 2 * time.Minute

// childTime is how long children of an attempt run if they are not killed.
const childTime = 20 * time.Second

// Verdicts of an attempt.
const (
	denied  = "denied"
	allowed = "allowed"
	absent  = "absent" // the pod has no target for the attempt
	hung    = "hung"
	killed  = "killed" // killed by a signal, for example on an OOM kill
)

// errAbsent means that the pod has no target for an attempt.
var errAbsent = errors.New("no target")

// attempt is a named attempt. try returns nil if the attempt succeeded.
type attempt struct {
	name string
	try  func(options) error
}

// result is one line of the report.
type result struct {
	Attempt string `json:"attempt"`
	Verdict string `json:"verdict"`
	Errno   int    `json:"errno,omitempty"`
	Detail  string `json:"detail,omitempty"`
	Millis  int64  `json:"millis,omitempty"`
}

type options struct {
	// hostPaths are paths of the host that the pod must not reach.
	hostPaths []string
	// groups are prefixes of the names of the attempts to make. If empty, all attempts are made.
	groups []string
	// self is this program's path inside the pod.
	self string
}

func main() {
	report := flag.String("report", "/dev/stdout", "file for the results")
	paths := flag.String("host-paths", "", "paths of the host to try, separated by commas")
	only := flag.String("attempt", "", "make only this attempt")
	groups := flag.String("groups", "", "prefixes of the names of the attempts to make, separated by commas")
	seed := flag.Uint64("seed", 0, "seed for the order of the attempts; 0 keeps the order of the list")
	role := flag.String("role", "", "act as a child of an attempt: wait or daemon")
	flag.Parse()
	var o options
	if *paths != "" {
		o.hostPaths = strings.Split(*paths, ",")
	}
	if *groups != "" {
		o.groups = strings.Split(*groups, ",")
	}
	var err error
	if o.self, err = os.Executable(); err != nil {
		fatal(err)
	}
	switch {
	case *role != "":
		err = runRole(*role)
	case *only != "":
		err = attemptOne(o, *only)
	default:
		err = attemptAll(o, *report, *seed)
	}
	if err != nil {
		fatal(err)
	}
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "hostiletask:", err)
	os.Exit(1)
}

func attempts() []attempt {
	var list []attempt
	for _, part := range [][]attempt{processes(), namespaces(), mounts(), kernel(), limits(), files(), network()} {
		list = append(list, part...)
	}
	return list
}

// attemptOne makes an attempt in this process and prints its result.
func attemptOne(o options, name string) error {
	for _, a := range attempts() {
		if a.name == name {
			return json.NewEncoder(os.Stdout).Encode(judge(name, a.try(o)))
		}
	}
	return fmt.Errorf("unknown attempt %q", name)
}

func judge(name string, err error) result {
	r := result{Attempt: name, Verdict: denied}
	switch {
	case err == nil:
		r.Verdict = allowed
		return r
	case errors.Is(err, errAbsent):
		r.Verdict = absent
		return r
	}
	var found reached
	if errors.As(err, &found) {
		r.Verdict = allowed
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		r.Errno = int(errno)
	}
	r.Detail = err.Error()
	return r
}

// reached is the "error" of a successful attempt, and names the target.
type reached string

func (r reached) Error() string { return string(r) }

// attemptAll makes every attempt in its own process, and leaves a daemon running.
func attemptAll(o options, report string, seed uint64) error {
	f, err := os.OpenFile(report, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	list := slices.DeleteFunc(attempts(), func(a attempt) bool {
		return len(o.groups) > 0 && !slices.ContainsFunc(o.groups, func(group string) bool { return strings.HasPrefix(a.name, group) })
	})
	if seed != 0 {
		rand.New(rand.NewPCG(seed, seed)).Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	}
	out := json.NewEncoder(f)
	for _, a := range list {
		started := time.Now()
		r := attemptInChild(o, a.name)
		r.Millis = time.Since(started).Milliseconds()
		if err := out.Encode(r); err != nil {
			return err
		}
	}
	if len(o.groups) > 0 {
		return nil
	}
	return leaveDaemon(o)
}

// attemptInChild makes an attempt in a child, which may crash, hang or be killed.
func attemptInChild(o options, name string) result {
	cmd := exec.Command(o.self, "-attempt", name, "-host-paths", strings.Join(o.hostPaths, ","))
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return result{Attempt: name, Verdict: killed, Detail: err.Error()}
	}
	late := time.AfterFunc(attemptTimeout, func() { _ = cmd.Process.Kill() })
	err := cmd.Wait()
	var r result
	if jerr := json.NewDecoder(strings.NewReader(stdout.String())).Decode(&r); jerr == nil {
		late.Stop()
		return r
	}
	if !late.Stop() {
		return result{Attempt: name, Verdict: hung}
	}
	detail := fmt.Sprint(err, " ", stderr.String())
	return result{Attempt: name, Verdict: killed, Detail: detail[:min(len(detail), 300)]}
}

// leaveDaemon starts a process that tries to outlive the task, and returns when it is ready.
func leaveDaemon(o options) error {
	cmd := exec.Command(o.self, "-role", "daemon")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	ready, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	_, err = ready.Read(make([]byte, 1))
	if errors.Is(err, io.EOF) {
		return errors.New("the daemon did not start")
	}
	return err
}

// bomb is the file that a daemon writes if it outlives its task.
const bomb = "/alloc/data/bomb"

func runRole(role string) error {
	switch role {
	case "true":
		return nil
	case "wait":
		time.Sleep(childTime)
		return nil
	case "daemon":
		ignoreSignals()
		fmt.Println("ready")
		time.Sleep(time.Second)
		return os.WriteFile(filepath.Clean(bomb), []byte("late"), 0o644)
	}
	return fmt.Errorf("unknown role %q", role)
}
