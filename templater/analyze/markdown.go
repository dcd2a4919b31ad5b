package analyze

import (
	"fmt"
	"strings"
)

// Markdown returns the documentation of all codes: a table, and a section for each.
func Markdown() string {
	var out strings.Builder
	for _, a := range areas() {
		fmt.Fprintf(&out, "## %s\n\n| code | name | severity |\n|---|---|---|\n", a.title)
		for _, c := range a.codes {
			fmt.Fprintf(&out, "| [%s](#%s) | %s | %s |\n", c.ID, strings.ToLower(c.ID), c.Name, c.Severity)
		}
		out.WriteString("\n")
		for _, c := range a.codes {
			out.WriteString(c.section())
		}
	}
	return strings.TrimSuffix(out.String(), "\n")
}

// section documents a code. Its heading is the code alone, so that links to it never change.
func (c Code) section() string {
	var out strings.Builder
	example := strings.NewReplacer("%q", "\"…\"", "%s", "…", "%d", "N").Replace(c.Text)
	fmt.Fprintf(&out, "### %s\n\n**%s**, %s.", c.ID, c.Name, c.Severity)
	if example != "…" {
		fmt.Fprintf(&out, " `%s`", strings.TrimSuffix(example, "…"))
	}
	fmt.Fprintf(&out, "\n\n%s\n\nFix: %s\n", c.Why, c.Fix)
	for i, url := range c.Reports {
		text := "\nSeen in "
		if i > 0 {
			text = ", "
		}
		fmt.Fprintf(&out, "%s[%s](%s)", text, reportName(url), url)
	}
	if len(c.Reports) > 0 {
		out.WriteString(".\n")
	}
	out.WriteString("\n")
	return out.String()
}

// reportName returns the short name of a public report.
func reportName(url string) string {
	last := url[strings.LastIndex(strings.TrimSuffix(url, "/"), "/")+1:]
	switch {
	case strings.HasPrefix(url, issues), strings.HasPrefix(url, pulls):
		return "nomad#" + last
	case strings.HasPrefix(url, istio):
		return "istioctl " + strings.ToUpper(strings.TrimSuffix(last, "/"))
	}
	return "kube-score"
}
