package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/nomad/api"

	"github.com/nomad-sidecar/nomad-sidecar/templater/display"
)

// diffWriter writes Nomad's diff of a job, one line per change. An object that is added or
// removed as a whole is shown by its name only.
type diffWriter struct {
	out    strings.Builder
	colour bool
}

func jobDiff(d *api.JobDiff, colour bool) string {
	w := &diffWriter{colour: colour}
	w.line(0, d.Type, fmt.Sprintf("job %q", d.ID))
	if d.Type == "Edited" {
		w.fields(1, d.Fields, d.Objects)
	}
	for _, g := range d.TaskGroups {
		w.line(1, g.Type, fmt.Sprintf("group %q%s", g.Name, updates(g.Updates)))
		if g.Type == "Edited" {
			w.fields(2, g.Fields, g.Objects)
		}
		for _, t := range g.Tasks {
			w.line(2, t.Type, fmt.Sprintf("task %q%s", t.Name, annotations(t.Annotations)))
			if t.Type == "Edited" {
				w.fields(3, t.Fields, t.Objects)
			}
		}
	}
	return w.out.String()
}

func (w *diffWriter) fields(depth int, fields []*api.FieldDiff, objects []*api.ObjectDiff) {
	for _, f := range fields {
		text := fmt.Sprintf("%s: %q", f.Name, f.New)
		switch f.Type {
		case "Deleted":
			text = fmt.Sprintf("%s: %q", f.Name, f.Old)
		case "Edited":
			text = fmt.Sprintf("%s: %q => %q", f.Name, f.Old, f.New)
		}
		if f.Type != "None" {
			w.line(depth, f.Type, text+annotations(f.Annotations))
		}
	}
	for _, o := range objects {
		if o.Type == "None" {
			continue
		}
		w.line(depth, o.Type, o.Name)
		w.fields(depth+1, o.Fields, o.Objects)
	}
}

func (w *diffWriter) line(depth int, kind, text string) {
	mark, code := "    ", 0
	switch kind {
	case "Added":
		mark, code = "+   ", 32
	case "Deleted":
		mark, code = "-   ", 31
	case "Edited":
		mark, code = "+/- ", 36
	}
	text = mark + strings.Repeat("  ", depth) + display.Line(text)
	if w.colour && code != 0 {
		text = fmt.Sprintf("\x1b[%dm%s\x1b[0m", code, text)
	}
	w.out.WriteString(text + "\n")
}

func annotations(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return " (" + strings.Join(list, ", ") + ")"
}

func updates(counts map[string]uint64) string {
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%d %s", counts[kind], kind))
	}
	return annotations(parts)
}
