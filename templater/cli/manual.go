package cli

import (
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Manual returns the manual pages of section 1 in roff, by file name such as
// nomad-sidecar-inject.1: one for the program and one for each command, from the text of -help.
func Manual(version string, date time.Time) map[string]string {
	m := manual{version: version, date: date.UTC().Format(time.DateOnly)}
	verbs := map[string]verb{}
	for name, factory := range (&Program{}).commands() {
		c, _ := factory() // it never fails
		verbs[name] = c.(*completed).verb
	}
	pages := map[string]string{"nomad-sidecar.1": m.program(verbs)}
	for name, v := range verbs {
		pages["nomad-sidecar-"+name+".1"] = m.command(name, v)
	}
	return pages
}

type manual struct{ version, date string }

func (m manual) header(name, summary string) string {
	return fmt.Sprintf(".TH %s 1 %s %s \"nomad-sidecar\"\n.SH NAME\n%s \\- %s\n",
		strings.ToUpper(roff(name)), m.date, roff(`"nomad-sidecar `+m.version+`"`), roff(name), roff(lowered(summary)))
}

func (m manual) program(verbs map[string]verb) string {
	var out strings.Builder
	out.WriteString(m.header("nomad-sidecar", "Inject sidecars into Nomad jobs"))
	out.WriteString(".SH SYNOPSIS\n.B nomad\\-sidecar\n\\fICOMMAND\\fR [\\fIOPTION\\fR]... [\\fIARGUMENT\\fR]...\n.SH COMMANDS\n")
	for _, name := range slices.Sorted(maps.Keys(verbs)) {
		fmt.Fprintf(&out, ".TP\n.BR nomad\\-sidecar\\-%s (1)\n%s.\n", name, roff(verbs[name].Synopsis()))
	}
	out.WriteString(".SH SEE ALSO\nhttps://github.com/nomad\\-sidecar/nomad\\-sidecar\n")
	return out.String()
}

func (m manual) command(name string, v verb) string {
	usage, text, _ := strings.Cut(v.Help(), "\n\n")
	var out strings.Builder
	out.WriteString(m.header("nomad-sidecar-"+name, v.Synopsis()) + ".SH SYNOPSIS\n.nf\n")
	for line := range strings.Lines(strings.TrimPrefix(usage, "Usage:")) {
		out.WriteString(roff(strings.TrimSpace(line)) + "\n")
	}
	out.WriteString(".fi\n.SH DESCRIPTION\n")
	about, after := text, ""
	if options := flagHelp(v); options != "" {
		about, after, _ = strings.Cut(text, options)
	}
	exit := ""
	for _, part := range []string{about, after} {
		for paragraph := range strings.SplitSeq(part, "\n\n") {
			if codes, ok := strings.CutPrefix(strings.TrimSpace(paragraph), "Exit codes: "); ok {
				exit = codes
				continue
			}
			out.WriteString(roffParagraph(paragraph))
		}
	}
	if flagHelp(v) != "" {
		out.WriteString(".SH OPTIONS\n" + roffFlags(v.flags()))
	}
	if exit != "" {
		out.WriteString(".SH EXIT STATUS\n" + roffParagraph(exit))
	}
	out.WriteString(".SH SEE ALSO\n.BR nomad\\-sidecar (1)\n")
	return out.String()
}

func roffFlags(fs *flag.FlagSet) string {
	var out strings.Builder
	fs.VisitAll(func(f *flag.Flag) {
		value, usage := flag.UnquoteUsage(f)
		fmt.Fprintf(&out, ".TP\n\\fB%s\\fR", roff("-"+f.Name))
		if !isSwitch(f) {
			fmt.Fprintf(&out, " \\fI%s\\fR", roff(value))
			usage = strings.TrimPrefix(usage, value)
		}
		out.WriteString("\n" + roff(strings.TrimSpace(usage)) + "\n")
	})
	return out.String()
}

// roffParagraph keeps the lines of an indented paragraph, such as an example, and fills others.
func roffParagraph(text string) string {
	if text = strings.Trim(text, "\n"); strings.TrimSpace(text) == "" {
		return ""
	}
	literal := strings.HasPrefix(text, "    ")
	var out strings.Builder
	out.WriteString(".PP\n")
	if literal {
		out.WriteString(".RS 4\n.nf\n")
	}
	for line := range strings.Lines(text) {
		out.WriteString(roff(strings.TrimPrefix(strings.TrimSuffix(strings.TrimPrefix(line, "  "), "\n"), "  ")) + "\n")
	}
	if literal {
		out.WriteString(".fi\n.RE\n")
	}
	return out.String()
}

// roff escapes what roff would interpret: backslashes, hyphens that are minus signs, quotes that
// are apostrophes, and control characters at the start of a line.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`, "…", "...").Replace(text)
	if strings.HasPrefix(text, ".") {
		text = `\&` + text
	}
	return text
}

// lowered is the summary of a manual page, which is a phrase.
func lowered(text string) string { return strings.ToLower(text[:1]) + text[1:] }
