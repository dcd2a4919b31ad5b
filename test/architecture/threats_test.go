package architecture

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
)

const threatsFile = repository + "/SECURITY.md"

// The threat model names only existing tests, has a test for every threat, and lists every
// hostile test.
func TestThreatModel_MatchesTests(t *testing.T) {
	text, err := os.ReadFile(threatsFile)
	must.NoError(t, err)
	for _, fault := range threatFaults(string(text), allTests(t)) {
		t.Error(fault)
	}
}

// The table of fuzz targets is complete and lists no others.
func TestFuzzTable_MatchesTargets(t *testing.T) {
	text, err := os.ReadFile(repository + "/CONTRIBUTING.md")
	must.NoError(t, err)
	var listed, targets []string
	for _, match := range testName.FindAllStringSubmatch(string(text), -1) {
		if strings.HasPrefix(match[1], "Fuzz") && !slices.Contains(listed, match[1]) {
			listed = append(listed, match[1])
		}
	}
	for _, f := range allTests(t) {
		if strings.HasPrefix(f.name, "Fuzz") && !slices.Contains(targets, f.name) {
			targets = append(targets, f.name)
		}
	}
	must.SliceContainsSubset(t, targets, listed, must.Sprint("CONTRIBUTING.md names a fuzz target that does not exist"))
	must.SliceContainsSubset(t, listed, targets, must.Sprint("add the fuzz target to the table in CONTRIBUTING.md"))
}

func TestThreatFaults_Each(t *testing.T) {
	tests := []testFunc{
		{name: "TestA", file: "d/a_test.go", text: `t.Run("case", nil)`},
		{name: "TestB", file: "d/hostile_b_test.go"}, {name: "TestC", file: "d/hostile_test.go"},
	}
	table := "## Threats and guards\n| attempt | guard | test |\n|---|---|---|\n" +
		"| a | b | `TestA`, `TestA/case` |\n| c | d | none |\n| e | f | `TestGone`, `TestA/gone`, `TestB` |\n| g | `TestX` |\n## Else\n| x | y | z |\n"
	must.Eq(t, []string{
		"SECURITY.md: \"c\" has no test",
		"SECURITY.md: TestGone does not exist",
		"SECURITY.md: TestA/gone does not exist",
		"SECURITY.md: \"g\" has 2 columns, want attempt, guard and test",
		"d/hostile_test.go: TestC is not in SECURITY.md",
	}, threatFaults(table, tests))
}

// testFunc is a test function of the repository.
type testFunc struct {
	name, file string
	text       string // source files that may contain the names of its cases
}

// hostileTask is the program of TestHostileTask. Its attempts are the cases of that test.
const hostileTask = "test/cmd/hostiletask"

// threat is one row of a table.
type threat struct {
	attempt string
	columns int
	tests   []string
}

var testFunction = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(\w+ \*testing\.[TF]\)`)

var threatTest = regexp.MustCompile("`((?:Test|Fuzz)\\w+(?:/[\\w/.-]+)?)`")

// threats reads the rows of the tables in a section.
func threats(section string) []threat {
	var all []threat
	for line := range strings.Lines(section) {
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "| attempt") || strings.HasPrefix(line, "|-") {
			continue
		}
		columns := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		row := threat{attempt: strings.TrimSpace(columns[0]), columns: len(columns)}
		for _, match := range threatTest.FindAllStringSubmatch(columns[len(columns)-1], -1) {
			row.tests = append(row.tests, match[1])
		}
		all = append(all, row)
	}
	return all
}

func threatFaults(text string, tests []testFunc) []string {
	var faults []string
	_, section, _ := strings.Cut(text, "## Threats and guards")
	section, _, _ = strings.Cut(section, "\n## ")
	for _, row := range threats(section) {
		switch {
		case row.columns != 3:
			faults = append(faults, fmt.Sprintf("SECURITY.md: %q has %d columns, want attempt, guard and test", row.attempt, row.columns))
		case len(row.tests) == 0:
			faults = append(faults, fmt.Sprintf("SECURITY.md: %q has no test", row.attempt))
		}
		for _, name := range row.tests {
			if row.columns == 3 && !slices.ContainsFunc(tests, func(f testFunc) bool { return f.has(name) }) {
				faults = append(faults, fmt.Sprintf("SECURITY.md: %s does not exist", name))
			}
		}
	}
	var named []string // including those named in the text
	for _, match := range threatTest.FindAllStringSubmatch(section, -1) {
		named = append(named, match[1])
	}
	for _, f := range tests {
		base := filepath.Base(f.file)
		hostile := base == "hostile_test.go" || strings.HasPrefix(base, "hostile_")
		if hostile && f.name != "TestMain" && !slices.Contains(named, f.name) {
			faults = append(faults, fmt.Sprintf("%s: %s is not in SECURITY.md", f.file, f.name))
		}
	}
	return faults
}

// has reports whether name is the test or one of its cases: a string in its sources, or the
// part of a string before a slash.
func (f testFunc) has(name string) bool {
	test, part, found := strings.Cut(name, "/")
	return f.name == test && (!found || strings.Contains(f.text, `"`+part+`"`) || strings.Contains(f.text, `"`+part+`/`))
}

// allTests finds the tests of the repository.
func allTests(t *testing.T) []testFunc {
	t.Helper()
	var all []testFunc
	program := ""
	err := filepath.WalkDir(repository, func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" {
			return err
		}
		text, err := os.ReadFile(path)
		must.NoError(t, err)
		name, err := filepath.Rel(repository, path)
		must.NoError(t, err)
		if strings.HasPrefix(name, hostileTask+"/") {
			program += string(text)
		}
		if strings.HasSuffix(name, "_test.go") {
			for _, match := range testFunction.FindAllStringSubmatch(string(text), -1) {
				all = append(all, testFunc{match[1], name, string(text)})
			}
		}
		return nil
	})
	must.NoError(t, err)
	for i := range all {
		if strings.HasPrefix(all[i].name, "TestHostileTask") {
			all[i].text += program
		}
	}
	return all
}
