package architecture

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
)

const trapsFile = repository + "/test/traps.md"

var (
	trapMention = regexp.MustCompile(`\b[Tt]raps? ([CDI]?\d+(?:(?:, | and )[CDI]?\d+)*)`)
	trapNumber  = regexp.MustCompile(`[CDI]?\d+`)
	trapRow     = regexp.MustCompile(`(?m)^\| ([CDI]\d+) \|.*\| ([^|]*) \|$`)
	testName    = regexp.MustCompile("`((?:Test|Fuzz)\\w+)`")
)

// The table of traps and the comments of the tests name the same tests.
func TestTrapTable_MatchesComments(t *testing.T) {
	for _, fault := range trapFaults(trapTable(t), trapComments(t)) {
		t.Error(fault)
	}
}

func TestTrapFaults_Each(t *testing.T) {
	table := map[string][]string{"D1": {"TestA"}, "D2": nil, "D3": {"TestGone"}}
	comments := []trapComment{{"x_test.go:1", "D1", "TestA"}, {"x_test.go:2", "D9", ""}, {"x_test.go:3", "D1", "TestB"}}
	must.Eq(t, []string{
		"test/traps.md: D1 lists [TestA], but the comments of [TestA TestB] name it",
		"test/traps.md: D2 has no test",
		"test/traps.md: D3 lists [TestGone], but the comments of [] name it",
		"x_test.go:2: trap D9 is not in test/traps.md",
	}, trapFaults(table, comments))
}

// trapComment is one mention of a trap in a comment.
type trapComment struct {
	position, trap string
	test           string // with this doc comment, or ""
}

func trapFaults(table map[string][]string, comments []trapComment) []string {
	var faults []string
	tests := map[string][]string{}
	for _, c := range comments {
		if _, known := table[c.trap]; !known {
			faults = append(faults, fmt.Sprintf("%s: trap %s is not in test/traps.md", c.position, c.trap))
		}
		if c.test != "" && !slices.Contains(tests[c.trap], c.test) {
			tests[c.trap] = append(tests[c.trap], c.test)
		}
	}
	for trap, listed := range table {
		slices.Sort(listed)
		slices.Sort(tests[trap])
		switch {
		case len(listed) == 0 && len(tests[trap]) == 0:
			faults = append(faults, fmt.Sprintf("test/traps.md: %s has no test", trap))
		case !slices.Equal(listed, tests[trap]):
			faults = append(faults, fmt.Sprintf("test/traps.md: %s lists %v, but the comments of %v name it", trap, listed, tests[trap]))
		}
	}
	slices.Sort(faults)
	return faults
}

// trapTable maps each number in test/traps.md to the tests of its row.
func trapTable(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(trapsFile)
	must.NoError(t, err)
	table := map[string][]string{}
	for _, row := range trapRow.FindAllStringSubmatch(string(text), -1) {
		_, twice := table[row[1]]
		must.False(t, twice, must.Sprintf("trap %s has two rows", row[1]))
		table[row[1]] = nil
		for _, name := range testName.FindAllStringSubmatch(row[2], -1) {
			table[row[1]] = append(table[row[1]], name[1])
		}
	}
	must.MapNotEmpty(t, table)
	return table
}

// trapComments returns every mention of a trap in the repository's Go files.
func trapComments(t *testing.T) []trapComment {
	t.Helper()
	var all []trapComment
	err := filepath.WalkDir(repository, func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "test/architecture/traps_test.go") {
			return err
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, comment := range file.Comments {
			for _, trap := range trapsIn(comment.Text()) {
				position := files.Position(comment.Pos())
				all = append(all, trapComment{fmt.Sprintf("%s:%d", position.Filename, position.Line), trap, testOf(file, comment)})
			}
		}
		return nil
	})
	must.NoError(t, err)
	return all
}

func trapsIn(text string) (traps []string) {
	for _, mention := range trapMention.FindAllStringSubmatch(strings.ReplaceAll(text, "\n", " "), -1) {
		traps = append(traps, trapNumber.FindAllString(mention[1], -1)...)
	}
	return traps
}

// testOf returns the test with this doc comment, or "".
func testOf(file *ast.File, comment *ast.CommentGroup) string {
	for _, decl := range file.Decls {
		f, ok := decl.(*ast.FuncDecl)
		if ok && f.Doc == comment && (strings.HasPrefix(f.Name.Name, "Test") || strings.HasPrefix(f.Name.Name, "Fuzz")) {
			return f.Name.Name
		}
	}
	return ""
}
