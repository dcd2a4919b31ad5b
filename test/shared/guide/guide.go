// Package guide runs the files and commands of a guide in Markdown, so that the
// guide stays correct. It reads two kinds of fenced blocks:
//
//   - a block that begins with a comment with a path is that file, including the
//     comment;
//   - "console" has commands after "$ ", each followed by its output to stdout or
//     stderr. "…" matches any text within a line, and on a line of its own any
//     lines. A command that fails is followed by "$ echo $?".
//
// "console nomad" has commands that need a Nomad agent with the pod driver. Any
// other block is an error, except "text".
package guide

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
)

// Options configures the environment of a guide.
type Options struct {
	// Env is added to the environment; PATH must contain the programs.
	Env []string
	// Nomad enables "console nomad".
	Nomad bool
}

// block is a fenced block and its first line's number.
type block struct {
	info  string
	lines []string
	line  int
}

// command is a line after "$ " and its expected output.
type command struct {
	text string
	want []string
	line int
}

// NeedsNomad reports whether a guide has commands that need an agent.
func NeedsNomad(text string) bool {
	return slices.ContainsFunc(blocks(text), func(b block) bool { return b.info == "console nomad" })
}

// File returns the content of a file in a guide, or false if the guide has no such file.
func File(text, name string) (string, bool) {
	for _, b := range blocks(text) {
		if fileOf(b) == name {
			return strings.Join(b.lines, "\n") + "\n", true
		}
	}
	return "", false
}

// Run executes the guide in a temporary folder.
func Run(t *testing.T, path string, o Options) {
	t.Helper()
	text, err := os.ReadFile(path)
	must.NoError(t, err)
	s := &shell{t: t, guide: filepath.Base(path), dir: t.TempDir(), state: t.TempDir(), env: append(os.Environ(), o.Env...)}
	for _, b := range blocks(string(text)) {
		name := fileOf(b)
		switch {
		case name != "":
			file := filepath.Join(s.dir, name)
			must.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
			must.NoError(t, os.WriteFile(file, []byte(strings.Join(b.lines, "\n")+"\n"), 0o644))
		case b.info == "console", b.info == "console nomad" && o.Nomad:
			s.session(b)
		case b.info == "console nomad", b.info == "text":
		default:
			t.Errorf("%s:%d: a block of kind %q that is neither a file nor commands is not tested: begin it with a comment that names its file, or call it text", s.guide, b.line, b.info)
		}
	}
}

// blocks returns the fenced blocks of a text.
func blocks(text string) []block {
	var out []block
	var open *block
	for i, line := range strings.Split(text, "\n") {
		info, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && open == nil:
			open = &block{info: info, line: i + 1}
		case fence:
			out, open = append(out, *open), nil
		case open != nil:
			open.lines = append(open.lines, line)
		}
	}
	return out
}

var fileName = regexp.MustCompile(`^# ([\w][\w./-]*\.\w+)$`)

func fileOf(b block) string {
	if len(b.lines) == 0 || strings.HasPrefix(b.info, "console") {
		return ""
	}
	if m := fileName.FindStringSubmatch(b.lines[0]); m != nil && filepath.IsLocal(m[1]) {
		return m[1]
	}
	return ""
}

func commands(b block) []command {
	var out []command
	for i, line := range b.lines {
		if text, ok := strings.CutPrefix(line, "$ "); ok {
			out = append(out, command{text: text, line: b.line + 1 + i})
		} else if len(out) > 0 {
			last := &out[len(out)-1]
			last.want = append(last.want, line)
		}
	}
	return out
}

// shell runs commands one after the other like a single shell: directory, exported variables and
// the last exit code carry over.
type shell struct {
	t          *testing.T
	guide      string
	dir, state string
	env        []string
	code       int
}

// script runs before each command; $1 is the directory, $2 the environment and $3 the exit code
// of the previous command.
const script = `cd "$1"
[ ! -r "$2/env" ] || . "$2/env"
[ ! -r "$2/dir" ] || cd "$(cat "$2/dir")"
trap 'code=$?; export -p >"'"$2"'/env"; pwd >"'"$2"'/dir"; exit $code' EXIT
(exit $3)
`

func (s *shell) session(b block) {
	s.t.Helper()
	all := commands(b)
	for i, c := range all {
		got := s.run(c.text)
		if !pattern(c.want).MatchString(got) {
			s.t.Errorf("%s:%d: %s\nprints\n%s\nbut the guide says\n%s", s.guide, c.line, c.text, got, strings.Join(c.want, "\n"))
		}
		asked := i+1 < len(all) && strings.HasPrefix(all[i+1].text, "echo $?")
		if s.code != 0 && !asked {
			s.t.Fatalf("%s:%d: %s\nends with exit code %d, and the guide does not say so (with $ echo $?)\n%s", s.guide, c.line, c.text, s.code, got)
		}
	}
}

// run returns the output of a command.
func (s *shell) run(text string) string {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), "/bin/sh", "-c", script+text+"\n", "sh", s.dir, s.state, strconv.Itoa(s.code))
	cmd.Env = s.env
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		must.NoError(s.t, err)
	}
	s.code = cmd.ProcessState.ExitCode()
	if text := strings.TrimRight(string(out), "\n"); text != "" { // trailing empty lines are not part of a guide
		return text + "\n"
	}
	return ""
}

// pattern returns a regexp for lines with "…".
func pattern(lines []string) *regexp.Regexp {
	var out strings.Builder
	for _, line := range lines {
		if strings.TrimSpace(line) == "…" {
			out.WriteString(`(?:.*\n)*?`)
			continue
		}
		out.WriteString(strings.ReplaceAll(regexp.QuoteMeta(line), "…", ".*?") + `\n`)
	}
	return regexp.MustCompile(`^` + out.String() + `$`)
}
