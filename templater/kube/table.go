package kube

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// FieldTable returns the table of fields in Markdown, a line for each field.
func FieldTable() string {
	fields := Fields()
	var out strings.Builder
	out.WriteString("| field | | in Nomad |\n|---|---|---|\n")
	for _, name := range sorted(fields) {
		f := fields[name]
		note := f.Text
		if len(f.Harmless) > 0 {
			note += fmt.Sprintf("; dropped if `%s`", strings.Join(f.Harmless, "` or `"))
		}
		fmt.Fprintf(&out, "| `%s` | %s | %s |\n", name, f.Fate, note)
	}
	return out.String()
}

// sorted returns the names of fields: PodSpec and Container first, the others by type.
func sorted(fields map[string]Field) []string {
	rank := func(name string) int {
		kind, _, _ := strings.Cut(name, ".")
		return slices.Index([]string{"Container", "PodSpec"}, kind)
	}
	return slices.SortedFunc(maps.Keys(fields), func(a, b string) int {
		return cmp.Or(cmp.Compare(rank(b), rank(a)), strings.Compare(a, b))
	})
}
