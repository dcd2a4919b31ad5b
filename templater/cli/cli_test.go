package cli_test

import (
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/nomad-sidecar/nomad-sidecar/templater/cli"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"nomad-sidecar": func() {
			p := &cli.Program{
				Version: "1.2.3", Commit: "0123abcd", Args: os.Args[1:], Environ: os.Environ(),
				Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
			}
			os.Exit(p.Run())
		},
	})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			// fails CODE ARG…: nomad-sidecar with these arguments ends with
			// exactly this exit code and writes nothing to stdout.
			"fails": fails,
			// https DIR: serves a folder, to whom the authority in $WORK/ca.pem is known,
			// at $HTTPS.
			"https": serve,
		},
	})
}

func fails(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: fails CODE ARG...")
	}
	err := ts.Exec("nomad-sidecar", args[1:]...)
	if err == nil {
		ts.Fatalf("nomad-sidecar %q: no error", args[1:])
	}
	if want := "exit status " + args[0]; err.Error() != want {
		ts.Fatalf("nomad-sidecar %q: %v, want %s", args[1:], err, want)
	}
	if out := ts.ReadFile("stdout"); out != "" {
		ts.Fatalf("nomad-sidecar %q: wrote to stdout: %s", args[1:], out)
	}
}

func serve(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: https DIR")
	}
	server := httptest.NewUnstartedServer(http.FileServer(http.Dir(ts.MkAbs(args[0]))))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of clients that do not know the authority
	server.StartTLS()
	ts.Defer(server.Close)
	ts.Setenv("HTTPS", server.URL)
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	ts.Check(os.WriteFile(ts.MkAbs("ca.pem"), authority, 0o644))
}
