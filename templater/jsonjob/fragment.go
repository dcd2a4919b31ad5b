package jsonjob

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/hashicorp/nomad/api"
	"github.com/hashicorp/nomad/jobspec2"
	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// fragments makes JSON of the blocks of a definition by way of Nomad's own parser,
// so that they are what the same blocks in a job file are. Only what is injected
// goes through Nomad's types; the user's job never does. Many groups get the same
// blocks, so what was parsed is kept, by its text.
type fragments map[string]*api.TaskGroup

func (fr fragments) taskJSON(e *templater.AddTask) ([]byte, error) {
	g, err := fr.parse(hclOf(e.JobInherited), hclOf(e.GroupInherited)+hclOf([]*sidecar.Block{e.Task}))
	if err != nil {
		return nil, fmt.Errorf("task %q: %w", e.Task.Label(), err)
	}
	return json.Marshal(g.Tasks[0])
}

func (fr fragments) serviceJSON(b *sidecar.Block) ([]byte, error) {
	g, err := fr.parse("", hclOf([]*sidecar.Block{b}))
	if err != nil {
		return nil, fmt.Errorf("service: %w", err)
	}
	return json.Marshal(g.Services[0])
}

func (fr fragments) volumeJSON(b *sidecar.Block) ([]byte, error) {
	g, err := fr.parse("", hclOf([]*sidecar.Block{b}))
	if err != nil {
		return nil, fmt.Errorf("volume %q: %w", b.Label(), err)
	}
	return json.Marshal(g.Volumes[b.Label()])
}

// appBlockJSON returns the field of a task that a block belongs to, and an element
// for its list.
func (fr fragments) appBlockJSON(b *sidecar.Block) (field string, raw []byte, err error) {
	task := &sidecar.Block{Type: "task", Labels: []string{"t"}, Body: sidecar.Body{b}}
	g, err := fr.parse("", hclOf([]*sidecar.Block{task}))
	if err != nil {
		return "", nil, fmt.Errorf("%s: %w", b.Type, err)
	}
	var v any
	switch t := g.Tasks[0]; {
	case len(t.Templates) == 1:
		field, v = "Templates", t.Templates[0]
	case len(t.VolumeMounts) == 1:
		field, v = "VolumeMounts", t.VolumeMounts[0]
	default:
		return "", nil, fmt.Errorf("block %q cannot be added to a task", b.Type)
	}
	raw, err = json.Marshal(v)
	return field, raw, err
}

// settingJSON is an attribute of a driver config. Nomad's parser puts an object in
// a list of its own (jobspec2/hclutil.BlocksAsAttrs).
func (fr fragments) settingJSON(e *templater.SetConfig) ([]byte, error) {
	config := &sidecar.Block{Type: "config", Body: sidecar.Body{&sidecar.Attr{Name: e.Name, Value: e.Value}}}
	task := &sidecar.Block{Type: "task", Labels: []string{"t"}, Body: sidecar.Body{config}}
	g, err := fr.parse("", hclOf([]*sidecar.Block{task}))
	if err != nil {
		return nil, fmt.Errorf("config %s: %w", e.Name, err)
	}
	return json.Marshal(g.Tasks[0].Config[e.Name])
}

func portJSON(e *templater.AddPort) ([]byte, error) {
	return json.Marshal(api.Port{Label: e.Label, To: e.To})
}

func hclOf(blocks []*sidecar.Block) string {
	var out strings.Builder
	for _, b := range blocks {
		out.WriteString(b.HCL(sidecar.Style{}))
	}
	return out.String()
}

// parse parses a group of a job. The result is shared, so it must not be changed.
func (fr fragments) parse(inJob, inGroup string) (*api.TaskGroup, error) {
	text := "job \"j\" {\n" + inJob + "group \"g\" {\n" + inGroup + "}\n}\n"
	if g := fr[text]; g != nil {
		return g, nil
	}
	job, err := jobspec2.ParseWithConfig(&jobspec2.ParseConfig{Path: "definition", Body: []byte(text), Strict: true})
	if err != nil {
		return nil, fmt.Errorf("parse as a Nomad block: %w", err)
	}
	fr[text] = job.TaskGroups[0]
	return fr[text], nil
}
