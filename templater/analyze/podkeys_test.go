package analyze

import (
	"os"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
)

// rows returns the rows of a table of driver/README.md, which the driver's tests compare with its
// code.
func rows(t *testing.T, name string) (out [][]string) {
	t.Helper()
	raw, err := os.ReadFile("../../driver/README.md")
	must.NoError(t, err)
	_, rest, found := strings.Cut(string(raw), "<!-- "+name+" -->")
	must.True(t, found)
	table, _, found := strings.Cut(rest, "<!-- end of "+name+" -->")
	must.True(t, found)
	for line := range strings.Lines(table) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		var cells []string
		for cell := range strings.SplitSeq(strings.Trim(line, "|"), " | ") {
			cells = append(cells, strings.TrimSpace(cell))
		}
		out = append(out, cells)
	}
	must.SliceNotEmpty(t, out)
	return out
}

func TestPodKeys_AreTheDrivers(t *testing.T) {
	var keys []podKey
	for _, row := range rows(t, "task keys") {
		keys = append(keys, podKey{strings.Trim(row[0], "`"), row[1]})
	}
	must.Eq(t, keys, podKeys())
	var refused []refusedKey
	for _, row := range rows(t, "compat keys") {
		refused = append(refused, refusedKey{strings.Trim(row[0], "`"), row[1], row[2]})
	}
	must.Eq(t, refused, refusedKeys())
}
