package sidecardoc

import (
	"fmt"
	"strings"
	"unicode"
)

// Markdown renders pages as one document of GitHub's Markdown. Headings start at the
// first level for a single page, and one level below for several pages.
func Markdown(pages []*Page) string {
	var out strings.Builder
	level := "#"
	if len(pages) > 1 {
		out.WriteString("# Sidecars\n\n" + CatalogTable(pages, func(p *Page) string { return "#" + p.anchor() }) + "\n")
		level = "##"
	}
	for i, p := range pages {
		if i > 0 {
			out.WriteString("\n")
		}
		p.markdown(&out, level, len(pages) > 1)
	}
	return out.String()
}

func (p *Page) anchor() string { return p.Name + "-" + p.Version }

func (p *Page) markdown(out *strings.Builder, level string, anchored bool) {
	if anchored {
		fmt.Fprintf(out, "<a id=\"%s\"></a>\n\n", escapeMarkdown(p.anchor()))
	}
	fmt.Fprintf(out, "%s %s %s\n\n", level, escapeMarkdown(p.Name), p.Version)
	if p.Summary != "" {
		fmt.Fprintf(out, "%s\n\n", escapeMarkdown(p.Summary))
	}
	if p.Deprecated != "" {
		fmt.Fprintf(out, "**Deprecated:** %s\n\n", escapeMarkdown(p.Deprecated))
	}
	for i, e := range p.shown() {
		if i > 0 {
			out.WriteString("\n")
		}
		e.markdown(out, level)
	}
	fmt.Fprintf(out, "\n%s# Parameters\n\n%s", level, p.ParameterTable())
	if len(p.API) > 0 {
		fmt.Fprintf(out, "\n%s# API surface\n\n%s", level, itemTable(p.API))
	}
	if len(p.Outputs) > 0 {
		fmt.Fprintf(out, "\n%s# Outputs\n\n%s", level, itemTable(p.Outputs))
	}
	if len(p.Requires) > 0 {
		fmt.Fprintf(out, "\n%s# Requires\n\n", level)
		for _, r := range p.Requires {
			fmt.Fprintf(out, "- %s\n", escapeMarkdown(r))
		}
	}
	if len(p.Tasks) > 0 {
		fmt.Fprintf(out, "\n%s# Tasks\n\n| task | driver | lifecycle | reserves |\n|---|---|---|---|\n", level)
		for _, t := range p.Tasks {
			fmt.Fprintf(out, "| %s | %s | %s | %s |\n", code(t.Name), escapeMarkdown(t.Driver), escapeMarkdown(t.Lifecycle), escapeMarkdown(t.Resources))
		}
	}
	if len(p.Brings) > 0 {
		fmt.Fprintf(out, "\n%s# Also brings\n\n%s", level, itemTable(p.Brings))
	}
}

func (e Example) markdown(out *strings.Builder, level string) {
	if e.Name != "" {
		fmt.Fprintf(out, "%s# Example: %s\n\n", level, escapeMarkdown(e.Name))
	}
	if e.Description != "" {
		fmt.Fprintf(out, "%s\n\n", escapeMarkdown(e.Description))
	}
	fmt.Fprintf(out, "%s\n", fenced("hcl", e.HCL))
}

// ParameterTable returns the Markdown table of the parameters, or a line about their
// absence.
func (p *Page) ParameterTable() string {
	if len(p.Parameters) == 0 {
		return "None.\n"
	}
	var out strings.Builder
	out.WriteString("| name | type | default | |\n|---|---|---|---|\n")
	for _, row := range p.Parameters {
		def := code(row.Default)
		switch {
		case row.Required:
			def = "required"
		case row.Default == "null":
			def = "none"
		}
		kind := code(row.Type)
		if row.Sensitive {
			kind += ", sensitive"
		}
		fmt.Fprintf(&out, "| %s | %s | %s | %s |\n", code(row.Name), kind, def, escapeMarkdown(row.note()))
	}
	return out.String()
}

// CatalogTable returns the Markdown table of a catalog; link returns the link of a page.
func CatalogTable(pages []*Page, link func(*Page) string) string {
	var out strings.Builder
	out.WriteString("| sidecar | what it does | requires | app tasks get |\n|---|---|---|---|\n")
	for _, p := range pages {
		var gets []string
		for _, item := range p.API {
			if item.Kind == "env" {
				gets = append(gets, code(item.Name))
			}
		}
		for _, item := range p.Brings {
			if item.Detail == inAppTasks {
				gets = append(gets, escapeMarkdown(item.Kind)+" "+code(item.Name))
			}
		}
		fmt.Fprintf(&out, "| [%s](%s) | %s | %s | %s |\n", escapeMarkdown(p.Name), link(p), escapeMarkdown(strings.TrimSpace(p.deprecation()+" "+p.Summary)),
			escapeMarkdown(strings.Join(p.Requires, "; ")), strings.Join(gets, ", "))
	}
	return out.String()
}

func itemTable(items []Item) string {
	var out strings.Builder
	out.WriteString("| | | | |\n|---|---|---|---|\n")
	for _, item := range items {
		fmt.Fprintf(&out, "| %s | %s | %s | %s |\n", escapeMarkdown(item.Kind), code(item.Name), escapeMarkdown(item.Detail), escapeMarkdown(item.Description))
	}
	return out.String()
}

// escapeMarkdown escapes text as one line. Underscores inside words are kept, since
// Markdown does not interpret them.
func escapeMarkdown(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	var out strings.Builder
	runes := []rune(s)
	word := func(i int) bool {
		return i >= 0 && i < len(runes) && (unicode.IsLetter(runes[i]) || unicode.IsDigit(runes[i]))
	}
	for i, r := range runes {
		switch {
		case r == '<':
			out.WriteString("&lt;")
			continue
		case r == '&':
			out.WriteString("&amp;")
			continue
		case strings.ContainsRune("\\`*[]|~>", r), r == '_' && !(word(i-1) && word(i+1)), i == 0 && strings.ContainsRune("#-+=", r):
			out.WriteByte('\\')
		case (r == '.' || r == ')') && i > 0 && allDigits(runes[:i]):
			out.WriteByte('\\')
		}
		out.WriteRune(r)
	}
	return out.String()
}

func allDigits(runes []rune) bool {
	for _, r := range runes {
		if r < '0' || r > '9' {
			return false
		}
	}
	return true
}

// code returns a code span that is valid in a table.
func code(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if s == "" {
		return ""
	}
	ticks := strings.Repeat("`", longestRun(s)+1)
	if strings.HasPrefix(s, "`") || strings.HasSuffix(s, "`") {
		s = " " + s + " "
	}
	return ticks + strings.ReplaceAll(s, "|", `\|`) + ticks
}

// fenced returns a code block.
func fenced(language, text string) string {
	fence := strings.Repeat("`", max(3, longestRun(text)+1))
	return fence + language + "\n" + text + fence
}

// longestRun returns the length of the longest run of backticks.
func longestRun(s string) int {
	longest, run := 0, 0
	for _, r := range s {
		if r != '`' {
			run = 0
			continue
		}
		run++
		longest = max(longest, run)
	}
	return longest
}
