package guide

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"
)

func TestRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "guide.md")
	must.NoError(t, os.WriteFile(path, []byte("# A guide\n\n"+
		"```hcl\n# a/b.hcl\nx = 1\n```\n"+
		"```console\n$ cat a/b.hcl\n# a/b.hcl\nx = 1\n$ cd a; export Y=2\n$ cat b.hcl; echo $Y\n…\n2\n$ echo one two three\none … three\n```\n"+
		"```console\n$ false\n$ echo $?\n1\n$ ls /nowhere\nls: …\n$ echo $?; pwd\n2\n…/a\n```\n"+
		"```console nomad\n$ false\n```\n"+
		"```text\nanything\n```\n"), 0o644))
	Run(t, path, Options{})
}

func TestBlocks(t *testing.T) {
	all := blocks("```hcl\n# x.hcl\n```\ntext\n```console nomad\n$ a\nb\n```\n")
	must.SliceLen(t, 2, all)
	must.Eq(t, "x.hcl", fileOf(all[0]))
	text, ok := File("```hcl\n# x.hcl\ny = 1\n```\n", "x.hcl")
	must.True(t, ok)
	must.Eq(t, "# x.hcl\ny = 1\n", text)
	_, ok = File("```hcl\n# x.hcl\n```\n", "y.hcl")
	must.False(t, ok)
	must.True(t, NeedsNomad("```console nomad\n$ a\n```\n"))
	must.False(t, NeedsNomad("```console\n$ a\n```\n"))
	must.Eq(t, []command{{text: "a", want: []string{"b"}, line: 6}}, commands(all[1]))
	for _, line := range []string{"# ../x.hcl", "# /etc/x.hcl", "# a comment.", "x = 1"} {
		must.Eq(t, "", fileOf(block{info: "hcl", lines: []string{line}}))
	}
}

func TestPattern(t *testing.T) {
	for _, tc := range []struct {
		want []string
		got  string
		ok   bool
	}{
		{nil, "", true},
		{nil, "more\n", false},
		{[]string{"a", "…", "z"}, "a\nb\nc\nz\n", true},
		{[]string{"a", "…", "z"}, "a\nz\n", true},
		{[]string{"a", "…", "z"}, "a\nb\n", false},
		{[]string{"a.c"}, "abc\n", false},
		{[]string{"id … done"}, "id 12 done\n", true},
		{[]string{"id … done"}, "id 12\ndone\n", false},
	} {
		must.Eq(t, tc.ok, pattern(tc.want).MatchString(tc.got), must.Sprint(tc))
	}
}
