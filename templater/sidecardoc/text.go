package sidecardoc

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"unicode"
)

// Text renders pages for a terminal, with bold headings if bold is set. It omits
// control characters, so that a definition cannot control the terminal.
func Text(pages []*Page, bold bool) string {
	var out strings.Builder
	heading := func(s string) string {
		s = printable(s)
		if bold {
			return "\x1b[1m" + s + "\x1b[0m"
		}
		return s
	}
	for i, p := range pages {
		if i > 0 {
			out.WriteString("\n\n")
		}
		p.text(&out, heading)
	}
	return out.String()
}

func (p *Page) text(out *strings.Builder, heading func(string) string) {
	fmt.Fprintf(out, "%s\n", heading(p.Name+" "+p.Version))
	if p.Summary != "" {
		fmt.Fprintf(out, "  %s\n", printable(p.Summary))
	}
	if p.Deprecated != "" {
		fmt.Fprintf(out, "  %s\n", printable(p.deprecation()))
	}
	section := func(title string, rows [][]string) {
		if len(rows) == 0 {
			return
		}
		fmt.Fprintf(out, "\n%s\n", heading(title))
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		for _, row := range rows {
			for i := range row {
				row[i] = printable(row[i])
			}
			fmt.Fprintf(w, "  %s\n", strings.TrimRight(strings.Join(row, "\t"), "\t"))
		}
		_ = w.Flush() // strings.Builder never fails
	}
	section("Parameters", p.parameterRows())
	section("API surface", itemRows(p.API))
	section("Outputs", itemRows(p.Outputs))
	var requires, tasks [][]string
	for _, r := range p.Requires {
		requires = append(requires, []string{r})
	}
	for _, t := range p.Tasks {
		tasks = append(tasks, []string{t.Name, t.Driver, t.Lifecycle, t.Resources})
	}
	section("Requires", requires)
	section("Tasks", tasks)
	section("Also brings", itemRows(p.Brings))
	for _, e := range p.shown() {
		e.text(out, heading)
	}
}

func (e Example) text(out *strings.Builder, heading func(string) string) {
	title := "Example"
	if e.Name != "" {
		title += ": " + e.Name
	}
	fmt.Fprintf(out, "\n%s\n", heading(title))
	if e.Description != "" {
		fmt.Fprintf(out, "  %s\n\n", printable(e.Description))
	}
	for line := range strings.Lines(e.HCL) {
		out.WriteString(strings.TrimRight("  "+printable(strings.TrimSuffix(line, "\n")), " ") + "\n")
	}
}

func (p *Page) parameterRows() [][]string {
	var rows [][]string
	for _, param := range p.Parameters {
		def := "= " + param.Default
		if param.Required {
			def = "required"
		}
		kind := param.Type
		if param.Sensitive {
			kind += ", sensitive"
		}
		rows = append(rows, []string{param.Name, kind, def, param.note()})
	}
	return rows
}

func itemRows(items []Item) [][]string {
	var rows [][]string
	for _, item := range items {
		rows = append(rows, []string{item.Kind, item.Name, item.Detail, item.Description})
	}
	return rows
}

// printable removes control characters and joins lines.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case r != ' ' && !unicode.IsPrint(r):
			return -1
		}
		return r
	}, s)
}
