package architecture

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
)

var update = flag.Bool("update", false, "write templater/analyze/podkeys.txt")

// TestPodKeys checks the templater's table of the pod driver's keys: the templater does not
// import the driver.
func TestPodKeys(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(repository, "driver/README.md"))
	must.NoError(t, err)
	want := podKeyLines(t, string(readme), "task keys", 2) + podKeyLines(t, string(readme), "compat keys", 3)
	path := filepath.Join(repository, "templater/analyze/podkeys.txt")
	if *update {
		must.NoError(t, os.WriteFile(path, []byte(want), 0o644))
		return
	}
	have, err := os.ReadFile(path)
	must.NoError(t, err)
	must.Eq(t, want, string(have), must.Sprint("run go test ./test/architecture -run PodKeys -update"))
}

// podKeyLines returns the first cells of the rows of a generated table.
func podKeyLines(t *testing.T, readme, name string, cells int) string {
	t.Helper()
	_, rest, begins := strings.Cut(readme, "<!-- "+name+" -->")
	table, _, ends := strings.Cut(rest, "<!-- end of "+name+" -->")
	must.True(t, begins && ends, must.Sprint(name))
	var out strings.Builder
	for line := range strings.Lines(table) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		row := strings.Split(strings.Trim(line, "|"), " | ")
		must.True(t, len(row) >= cells, must.Sprint(line))
		for i := range row {
			row[i] = strings.TrimSpace(row[i])
		}
		row[0] = strings.Trim(row[0], "`")
		out.WriteString(strings.Join(row[:cells], "\t") + "\n")
	}
	must.NotEq(t, "", out.String())
	return out.String()
}
