package cli_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testtimeout"
)

// TestScriptsWithNomad runs the scripts that need a Nomad, with one of their own: a
// server without clients, so that nothing is ever started.
func TestScriptsWithNomad(t *testing.T) {
	program, addr := startNomad(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/nomad",
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("NOMAD_ADDR", addr)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"fails": fails,
			// get PATH: what Nomad's API answers, to stdout.
			"get": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Check(ts.Exec("curl", "-sf", addr+args[0]))
			},
			// put PATH FILE: the same, after sending a file.
			"put": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Check(ts.Exec("curl", "-sf", "-T", ts.MkAbs(args[1]), addr+args[0]))
			},
			// nomad ARG…: the nomad command.
			"nomad": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Check(ts.Exec(program, args...))
			},
		},
	})
}

// startNomad starts a server on ports of its own and ends it with the test.
func startNomad(t *testing.T) (program, addr string) {
	t.Helper()
	program = os.Getenv("NOMAD_BIN")
	if program == "" {
		var err error
		if program, err = exec.LookPath("nomad"); err != nil {
			root, _ := filepath.Abs("../../bin/nomad")
			if _, err := os.Stat(root); err != nil {
				t.Skip("needs nomad: neither NOMAD_BIN, nor on PATH, nor in bin/")
			}
			program = root
		}
	}
	dir := t.TempDir()
	ports := freePorts(t, 3)
	// Servers do not contact Vault.
	config := fmt.Sprintf("data_dir = %q\nbind_addr = \"127.0.0.1\"\ndisable_update_check = true\n"+
		"ports {\n http = %d\n rpc = %d\n serf = %d\n}\nadvertise {\n http = \"127.0.0.1\"\n rpc = \"127.0.0.1\"\n serf = \"127.0.0.1\"\n}\nserver {\n enabled = true\n bootstrap_expect = 1\n}\n"+
		"vault {\n enabled = true\n address = \"http://127.0.0.1:1\"\n default_identity {\n aud = [\"vault.io\"]\n }\n}\n", dir, ports[0], ports[1], ports[2])
	file := filepath.Join(dir, "agent.hcl")
	must.NoError(t, os.WriteFile(file, []byte(config), 0o600))
	log, err := os.Create(filepath.Join(dir, "agent.log"))
	must.NoError(t, err)
	cmd := exec.Command(program, "agent", "-config", file)
	cmd.Stdout, cmd.Stderr = log, log
	endWithTest(cmd)
	must.NoError(t, cmd.Start())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // its log says why
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended already
		<-ended
		_ = log.Close()
	})
	addr = fmt.Sprintf("http://127.0.0.1:%d", ports[0])
	if !eventually(testtimeout.Scale(time.Minute), ended, func() bool { return hasLeader(addr) }) {
		text, _ := os.ReadFile(log.Name())
		t.Fatalf("nomad ended or still has no leader:\n%s", text)
	}
	return program, addr
}

func hasLeader(addr string) bool {
	resp, err := http.Get(addr + "/v1/operator/autopilot/health")
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// eventually waits for ok, at most so long and not after ended is closed.
func eventually(limit time.Duration, ended <-chan struct{}, ok func() bool) bool {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(limit)
	for !ok() {
		select {
		case <-ticker.C:
		case <-ended:
			return false
		case <-deadline:
			return false
		}
	}
	return true
}

func freePorts(t *testing.T, n int) []int {
	t.Helper()
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must.NoError(t, err)
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}
