package cli_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater/cli"
)

// evil holds what a terminal obeys, and a line that looks like one of ours.
const evil = "x\x1b[2J\x1b]0;title\a\x1b[8m\r\b\u009b31m\u202e\u2066\u200f\u2028\x7fy\nforged row"

func inJSON(t *testing.T, text string) string {
	t.Helper()
	raw, err := json.Marshal(text)
	must.NoError(t, err)
	return string(raw)
}

// inHCL is a quoted text, with escapes for all that HCL does not allow in one.
func inHCL(text string) string {
	var out strings.Builder
	for _, r := range text {
		if r < ' ' || r > '~' {
			fmt.Fprintf(&out, `\u%04x`, r)
		} else {
			out.WriteRune(r)
		}
	}
	return `"` + out.String() + `"`
}

func evilJob(t *testing.T) string {
	t.Helper()
	name := inJSON(t, evil)
	return fmt.Sprintf(`{"ID":%s,"Name":%s,"Namespace":%s,"Type":"service","Status":"running","Version":3,"Meta":{"sidecar.exclude":%s,%s:"x"},"TaskGroups":[{"Name":%s,"Count":1,"Meta":{"sidecar.inject":%s},"Tasks":[{"Name":%s,"Driver":"raw_exec","Env":{%s:%s},"Config":{"command":%s}}]}]}`,
		name, name, name, name, name, name, name, name, name, name, name)
}

// evilNomad is a cluster of which all texts are hostile.
func evilNomad(t *testing.T) string {
	name := inJSON(t, evil)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Nomad-Index", "7")
		w.Header().Set("X-Nomad-LastContact", "0")
		switch path := r.URL.Path; {
		case path == "/v1/jobs" && r.Method == http.MethodGet:
			fmt.Fprintf(w, `[{"ID":%s,"Name":%s,"Namespace":%s,"Status":"running","Type":"service"}]`, name, name, name)
		case path == "/v1/deployments":
			_, _ = io.WriteString(w, `[]`) // the test sees what is missing
		case strings.HasSuffix(path, "/plan"):
			fmt.Fprintf(w, `{"JobModifyIndex":7,"Warnings":%s,"Diff":{"Type":"Edited","ID":%s,"Fields":[{"Type":"Edited","Name":%s,"Old":%s,"New":%s,"Annotations":[%s]}],"Objects":[{"Type":"Added","Name":%s}],"TaskGroups":[{"Type":"Edited","Name":%s,"Updates":{%s:1,"create/destroy update":1},"Tasks":[{"Type":"Added","Name":%s,"Annotations":[%s]}]}]},"FailedTGAllocs":{%s:{"DimensionExhausted":{%s:1},"ConstraintFiltered":{%s:1},"NodesEvaluated":1}}}`,
				name, name, name, name, name, name, name, name, name, name, name, name, name, name)
		case path == "/v1/jobs":
			fmt.Fprintf(w, `{"EvalID":%s,"JobModifyIndex":8,"Warnings":%s}`, name, name)
		case strings.HasPrefix(path, "/v1/evaluation/"):
			fmt.Fprintf(w, `{"ID":%s,"Status":"failed","StatusDescription":%s,"FailedTGAllocs":{%s:{"NodesEvaluated":1}}}`, name, name, name)
		case strings.HasPrefix(path, "/v1/job/"):
			_, _ = io.WriteString(w, evilJob(t))
		default:
			http.Error(w, evil, http.StatusInternalServerError)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// harmless says that a text has no character that a terminal obeys, and no forged line.
func harmless(t *testing.T, what, text string) {
	t.Helper()
	must.True(t, utf8.ValidString(text), must.Sprint(what))
	at := strings.IndexFunc(text, func(r rune) bool {
		return r != '\n' && r != '\t' && unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp, unicode.Bidi_Control)
	})
	if at >= 0 {
		t.Errorf("%s: %q", what, text[max(0, at-60):min(len(text), at+60)])
	}
	if strings.Contains("\n"+text, "\nforged") {
		t.Errorf("%s: a forged line: %q", what, text)
	}
}

// No verb lets a name, a value or an answer reach the terminal as it is.
func TestEveryVerb_EscapesWhatATerminalObeys(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		must.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	write("note.sidecar.hcl", fmt.Sprintf("sidecar \"note\" {\n  version = \"1.0.0\"\n  summary = %s\n  parameter \"text\" {\n    type = string\n    default = %s\n    description = %s\n  }\n  task \"note\" {\n    driver = \"raw_exec\"\n    config {\n      command = \"true\"\n    }\n    env {\n      NOTE = param.text\n    }\n  }\n}\n", inHCL(evil), inHCL(evil), inHCL(evil)))
	policy := write("all.policy.hcl", fmt.Sprintf("rule \"all\" {\n  inject \"note\" {\n    text = %s\n  }\n}\n", inHCL(evil)))
	denies := write("denies.policy.hcl", "rule \"none\" {\n  validation {\n    condition = job.id == \"\"\n    error_message = \"Not ${job.id}.\"\n  }\n}\n")
	jobFile := write("job.json", `{"Job":`+evilJob(t)+`}`)
	plain := write("plain.json", strings.Replace(`{"Job":`+evilJob(t)+`}`, `"sidecar.`, `"other.`, 2))
	broken := write("broken.nomad.hcl", "job \"a\" {\n  # "+strings.ReplaceAll(evil, "\n", " ")+"\n  group "+inHCL(evil)+" {\n    unknown = "+strings.ReplaceAll(evil, "\n", " ")+"\n  }\n}\n")
	latin := write("latin.nomad.hcl", "job \"a\x9b31m\" {\n  x = \"\x9b31m\x1b[2J\"\n  y = \n}\n")
	catalog := []string{"-catalog", dir}
	with := append([]string{"-policy", policy}, catalog...)
	t.Setenv("NOMAD_ADDR", evilNomad(t))
	for _, args := range [][]string{
		append([]string{"list"}, catalog...), append([]string{"docs"}, catalog...), append([]string{"docs", "-format", "markdown"}, catalog...),
		append([]string{"docs", "-format", "html"}, catalog...), append([]string{"docs", evil}, catalog...), {"lint", dir}, {"lint", "-json", broken}, {"lint", broken},
		append([]string{"inject", jobFile}, with...), append([]string{"inject", plain}, with...), append([]string{"inject", broken}, with...),
		append([]string{"inject", latin}, with...), {"inject", "-with", evil, plain}, {"inject", "-param", evil + "=x", plain}, {"inject", evil},
		append([]string{"inject", "-policy", denies, plain}, catalog...),
		append([]string{"explain", jobFile}, with...), append([]string{"explain", plain}, with...), append([]string{"explain", "-json", plain}, with...),
		append([]string{"diff", plain}, with...), append([]string{"diff", "-json", plain}, with...), append([]string{"diff", broken}, with...),
		append([]string{"plan", plain}, with...), append([]string{"run", "-detach", plain}, with...), append([]string{"run", plain}, with...),
		append([]string{"status"}, with...), append([]string{"status", "-json"}, with...), append([]string{"upgrade"}, with...), append([]string{"upgrade", "-json"}, with...),
		append([]string{"upgrade", "-yes", "-state", filepath.Join(dir, "state")}, with...), append([]string{"upgrade", evil}, with...),
		append([]string{"eject", "-fleet"}, catalog...), append([]string{"eject", broken}, catalog...),
		append([]string{"test", dir}, catalog...), {"fmt", "-check", dir}, {"fmt", evil}, {"get", "-catalog", "git::https://127.0.0.1:1/" + evil}, {"init", evil},
		{"serve", "-policy", broken, "-catalog", dir}, {"serve", "-address", evil}, {"serve", "-nomad-addr", evil}, {evil}, {"list", evil}, {"version", evil},
	} {
		var stdout, stderr bytes.Buffer
		p := &cli.Program{Version: "1", Args: args, Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr}
		p.Run()
		what := strings.Join(args, " ")[:min(40, len(strings.Join(args, " ")))]
		must.Positive(t, stdout.Len()+stderr.Len(), must.Sprint(what))
		harmless(t, fmt.Sprintf("%q stderr", what), stderr.String())
		if args[0] != "inject" && args[0] != "eject" || slices.Contains(args, "-fleet") { // whose result is a job, of which no byte may change
			text := stdout.String()
			if slices.Contains(args, "html") { // a browser lays it out
				text = strings.ReplaceAll(text, "forged row", "")
			}
			harmless(t, fmt.Sprintf("%q stdout", what), text)
		}
	}
}

// What inject writes is the job, byte for byte.
func TestInject_ResultIsNotEscaped(t *testing.T) {
	src := "job \"a\" {\n  # \u202e\x1b[1m\u009b\n  meta {\n    k = \"\u202e\"\n  }\n}\n"
	for _, verb := range []string{"inject", "eject"} {
		var stdout, stderr bytes.Buffer
		p := &cli.Program{Version: "1", Args: []string{verb, "-"}, Stdin: strings.NewReader(src), Stdout: &stdout, Stderr: &stderr}
		must.Zero(t, p.Run(), must.Sprint(stderr.String()))
		must.Eq(t, src, stdout.String())
	}
}
