package templater_test

import (
	"encoding/json"
	"fmt"
	"go/scanner"
	"go/token"
	"io/fs"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
)

// corpusJob is a job that somebody else wrote: a file of Nomad's source, a fenced
// block of its documentation, or a string of its tests.
type corpusJob struct {
	place string // path, and the line if it is a part of the file
	dir   string // what file() is relative to
	text  []byte
	json  bool
}

// nomadSource is where the module cache holds Nomad, whose jobs are read from
// there.
func nomadSource(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/hashicorp/nomad").Output()
	if dir := strings.TrimSpace(string(out)); err == nil && dir != "" {
		return dir
	}
	t.Skipf("needs Nomad's source in the module cache: go list -m github.com/hashicorp/nomad: %v", err)
	return ""
}

var (
	hclJob = regexp.MustCompile(`(?m)^[ \t]*job[ \t]+"?[^"\n]*"?[ \t]*\{`)
	fence  = regexp.MustCompile("(?ms)^([ \t]*)```[^\n]*\n(.*?)^[ \t]*```")
)

// corpusJobs finds every job in the source of Nomad.
func corpusJobs(t *testing.T, root string) []corpusJob {
	t.Helper()
	var jobs []corpusJob
	add := func(j corpusJob) {
		j.json = json.Valid(j.text)
		if j.json && holdsJob(j.text) || !j.json && hclJob.Match(j.text) {
			jobs = append(jobs, j)
		}
	}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		in := func(part string, line int) corpusJob {
			name, _ := filepath.Rel(root, path)
			if line > 0 {
				name = fmt.Sprintf("%s:%d", name, line)
			}
			return corpusJob{place: name, dir: filepath.Dir(path), text: []byte(part)}
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		switch filepath.Ext(path) {
		case ".nomad", ".hcl", ".json":
			add(in(string(raw), 0))
		case ".md", ".mdx":
			for line, text := range fences(string(raw)) {
				add(in(text, line))
			}
		case ".go":
			for line, text := range goStrings(raw) {
				add(in(text, line))
			}
		}
		return nil
	})
	must.NoError(t, err)
	return jobs
}

// holdsJob says whether valid JSON is a job or {"Job": …}, and not a list of them.
func holdsJob(raw []byte) bool {
	var v struct {
		TaskGroups []struct{}
		Job        struct{ TaskGroups []struct{} }
	}
	return json.Unmarshal(raw, &v) == nil && len(v.TaskGroups)+len(v.Job.TaskGroups) > 0
}

// fences yields the fenced blocks of a Markdown file with their lines.
func fences(src string) iter.Seq2[int, string] {
	return func(yield func(int, string) bool) {
		for _, m := range fence.FindAllStringSubmatchIndex(src, -1) {
			indent, body := src[m[2]:m[3]], src[m[4]:m[5]]
			body = strings.ReplaceAll("\n"+body, "\n"+indent, "\n")[1:]
			if !yield(1+strings.Count(src[:m[0]], "\n"), body) {
				return
			}
		}
	}
}

// goStrings yields the string literals of a Go file with their lines.
func goStrings(src []byte) iter.Seq2[int, string] {
	return func(yield func(int, string) bool) {
		files := token.NewFileSet()
		file := files.AddFile("", -1, len(src))
		var s scanner.Scanner
		s.Init(file, src, nil, 0)
		for {
			pos, tok, lit := s.Scan()
			if tok == token.EOF {
				return
			}
			if tok != token.STRING {
				continue
			}
			if text, err := strconv.Unquote(lit); err == nil && !yield(file.Line(pos), text) {
				return
			}
		}
	}
}
