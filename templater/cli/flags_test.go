package cli

import (
	"maps"
	"regexp"
	"slices"
	"testing"

	"github.com/shoenig/test/must"
)

var flagLine = regexp.MustCompile(`(?m)^  (-[a-z-]+)\b`)

// TestFlags_HelpAndCompletion compares what -help lists, what a shell completes and what
// the command line takes.
func TestFlags_HelpAndCompletion(t *testing.T) {
	for name, factory := range (&Program{}).commands() {
		t.Run(name, func(t *testing.T) {
			made, err := factory()
			must.NoError(t, err)
			c := made.(*completed)
			var listed []string
			for _, m := range flagLine.FindAllStringSubmatch(c.Help(), -1) {
				listed = append(listed, m[1])
			}
			slices.Sort(listed)
			must.Eq(t, slices.Sorted(maps.Keys(c.AutocompleteFlags())), listed)
			for _, flag := range listed {
				f := c.flags().Lookup(flag[1:])
				must.NotNil(t, f, must.Sprint(flag))
				must.StrContains(t, f.Usage, " ", must.Sprint(flag))
			}
		})
	}
}
