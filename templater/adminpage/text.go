package adminpage

import (
	"fmt"
	"html/template"
	"net/url"
	"strings"
	"time"

	"github.com/nomad-sidecar/nomad-sidecar/templater/explanation"
)

func functions() template.FuncMap {
	return template.FuncMap{
		"iso":      func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"clock":    func(t time.Time) string { return t.UTC().Format("Jan _2 15:04:05") },
		"join":     func(texts []string) string { return strings.Join(texts, ", ") },
		"jobURL":   jobURL,
		"chosen":   chosen,
		"position": position,
		"value":    value,
		"short":    short,
		"adds":     adds,
	}
}

func jobURL(namespace, id string) string {
	return "/job?" + url.Values{"namespace": {namespace}, "id": {id}}.Encode()
}

// ago formats an age for display, rounded to its largest unit.
func ago(age time.Duration) string {
	age = max(0, age)
	switch {
	case age < time.Minute:
		return fmt.Sprintf("%d s ago", int(age.Seconds()))
	case age < time.Hour:
		return fmt.Sprintf("%d min ago", int(age.Minutes()))
	}
	return fmt.Sprintf("%d h %d min ago", int(age.Hours()), int(age.Minutes())%60)
}

// chosen returns the text that explain shows after the name of a sidecar.
func chosen(s *explanation.Sidecar) string {
	var names []string
	for _, from := range s.ChosenBy {
		names = append(names, from.Origin+position(from))
	}
	text := s.State
	switch by := strings.Join(names, ", "); {
	case by == "":
	case s.State == "excluded":
		text += ", though chosen by " + by
	default:
		text += " by " + by
	}
	if s.Reason != "" {
		text += ": " + s.Reason
	}
	return text
}

// short abbreviates an accessor like Nomad's commands.
func short(accessor string) string {
	part, _, _ := strings.Cut(accessor, "-")
	return part
}

// position returns the position of a source, " (file:line)", or "".
func position(s *explanation.Source) string {
	if s == nil || s.File == "" {
		return ""
	}
	return fmt.Sprintf(" (%s:%d)", s.File, s.Line)
}

func value(p *explanation.Parameter) string {
	if p.Sensitive {
		return "(sensitive)"
	}
	return string(p.Value)
}

// adds formats a total.
func adds(t *explanation.Total) string {
	var parts []string
	for _, part := range []struct {
		n    int
		unit string
	}{
		{t.Tasks, "tasks"}, {t.CPU, "MHz"}, {t.Cores, "cores"}, {t.Memory, "MB"}, {t.MemoryMax - t.Memory, "MB more at most"},
		{t.Ports, "ports"}, {t.Disk, "MB of logs"},
	} {
		if part.n == 1 && !strings.HasPrefix(part.unit, "MB") {
			part.unit = strings.TrimSuffix(part.unit, "s")
		}
		if part.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", part.n, part.unit))
		}
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, ", ")
}
