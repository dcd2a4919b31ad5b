// Command hostiletask tries to break out of the pod it runs in, or to take more
// than the pod may have, and reports each attempt as a line of JSON.
//
// It does no harm if it succeeds: an attempt stops as soon as it could do harm,
// or writes a value back unchanged. The expected verdicts are in the test that
// runs this program.
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

// attemptTimeout bounds one attempt. None needs a tenth of it, or on user-mode-linux half of it.
const attemptTimeout = 2 * time.Minute

// childTime is how long the children of an attempt run that are not ended.
const childTime = 20 * time.Second

// Verdicts of an attempt.
const (
	denied  = "denied"
	allowed = "allowed"
	absent  = "absent" // the pod has no target for the attempt
	hung    = "hung"
	killed  = "killed" // by a signal, such as the kernel's for memory
)

// errAbsent is returned by an attempt that has no target in this pod.
var errAbsent = errors.New("no target")

// attempt is one entry of the list. The function returns nil if the attempt
// succeeded.
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
	// groups are the beginnings of the names of the attempts to make; none
	// makes all of them.
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
		err = play(*role)
	case *only != "":
		err = one(o, *only)
	default:
		err = all(o, *report, *seed)
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

// one makes an attempt in this process and prints its result.
func one(o options, name string) error {
	for _, a := range attempts() {
		if a.name == name {
			return json.NewEncoder(os.Stdout).Encode(judge(name, a.try(o)))
		}
	}
	return fmt.Errorf("no attempt is called %q", name)
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

// all makes every attempt, each in a process of its own, and leaves a daemon.
func all(o options, report string, seed uint64) error {
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
		r := separately(o, a.name)
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

// separately makes an attempt in a child, which may crash, hang or be killed.
func separately(o options, name string) result {
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

// leaveDaemon starts a process that tries to outlive the task, and returns when
// that process has left its parent.
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

func play(role string) error {
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
	return fmt.Errorf("no role is called %q", role)
}
