package jsonjob

import (
	"encoding/json"
	"fmt"
	"strings"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/hashicorp/nomad/api"
	"github.com/hashicorp/nomad/jobspec2"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// fragments makes JSON of the blocks of a definition by way of Nomad's own parser,
// so that they are what the same blocks in a job file are. Only what is injected
// goes through Nomad's types; the user's job never does. Many groups get the same
// blocks, so what was made is kept, by its text; it is shared and must not be edited.
type fragments map[string]*node

func (fr fragments) task(e *job.AddTask, l layout) (*node, error) {
	n, err := fr.shaped(hclOf(e.JobInherited), hclOf(e.GroupInherited), e.Task, l,
		func(g *api.TaskGroup) any { return g.Tasks[0] })
	if err != nil {
		return nil, fmt.Errorf("task %q: %w", e.Task.Label(), err)
	}
	return n, nil
}

func (fr fragments) service(b *sidecar.Block, l layout) (*node, error) {
	n, err := fr.shaped("", "", b, l, func(g *api.TaskGroup) any { return g.Services[0] })
	if err != nil {
		return nil, fmt.Errorf("service: %w", err)
	}
	return n, nil
}

func (fr fragments) volume(b *sidecar.Block, l layout) (*node, error) {
	n, err := fr.make("", hclOf([]*sidecar.Block{b}), l, func(g *api.TaskGroup) any { return g.Volumes[b.Label()] })
	if err != nil {
		return nil, fmt.Errorf("volume %q: %w", b.Label(), err)
	}
	return n, nil
}

// appBlock is an element for the list of a task that templater.FieldOf names.
func (fr fragments) appBlock(b *sidecar.Block, l layout) (*node, error) {
	n, err := fr.make("", inTaskBlock(b), l, func(g *api.TaskGroup) any {
		if b.Type == "template" {
			return g.Tasks[0].Templates[0]
		}
		return g.Tasks[0].VolumeMounts[0]
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", b.Type, err)
	}
	return n, nil
}

// setting is an attribute of a driver config. Nomad's parser puts an object in a
// list of its own (jobspec2/hclutil.BlocksAsAttrs).
func (fr fragments) setting(e *job.SetConfig, l layout) (*node, error) {
	config := &sidecar.Block{Type: "config", Body: sidecar.Body{&sidecar.Attr{Name: e.Name, Value: e.Value}}}
	n, err := fr.make("", inTaskBlock(config), l, func(g *api.TaskGroup) any { return g.Tasks[0].Config[e.Name] })
	if err != nil {
		return nil, fmt.Errorf("config %s: %w", e.Name, err)
	}
	return n, nil
}

// shaped is make for a block of which most differs between groups in its texts only.
func (fr fragments) shaped(inJob, inGroup string, b *sidecar.Block, l layout, pick func(*api.TaskGroup) any) (*node, error) {
	var s shape
	text := groupOf(inJob, inGroup+hclOf([]*sidecar.Block{s.block(b, false)}))
	m, known := moulds.Get(text)
	if !known {
		if raw, err := parsed(text, pick); err == nil {
			m = newMould(raw, len(s.texts))
		}
		if len(text)+m.size() <= maxMould {
			moulds.Add(text, m)
		}
	}
	if m == nil { // then it says what is wrong with it, if anything is
		return fr.make(inJob, inGroup+hclOf([]*sidecar.Block{b}), l, pick)
	}
	return parseValue(m.fill(s.texts), l), nil
}

// moulds are those of the shapes that were met last, nil for what has none. Nomad's parser
// takes longer than all else of a small job, and the jobs that a proxy sees get much the
// same sidecars. They hold none of the texts.
var moulds = func() *lru.Cache[string, *mould] {
	c, err := lru.New[string, *mould](256)
	if err != nil {
		panic(err) // the size is positive
	}
	return c
}()

// maxMould bounds what one of them and its text hold, in bytes.
const maxMould = 32 << 10

// make parses a group of a job and lays out what is picked of it.
func (fr fragments) make(inJob, inGroup string, l layout, pick func(*api.TaskGroup) any) (*node, error) {
	text := groupOf(inJob, inGroup)
	if n := fr[text]; n != nil {
		return n, nil
	}
	raw, err := parsed(text, pick)
	if err != nil {
		return nil, err
	}
	fr[text] = parseValue(raw, l)
	return fr[text], nil
}

func groupOf(inJob, inGroup string) string {
	return "job \"j\" {\n" + inJob + "group \"g\" {\n" + inGroup + "}\n}\n"
}

// parsed is the JSON of what is picked of a job's only group.
func parsed(text string, pick func(*api.TaskGroup) any) ([]byte, error) {
	j, err := jobspec2.ParseWithConfig(&jobspec2.ParseConfig{Path: "definition", Body: []byte(text), Strict: true})
	if err != nil {
		return nil, fmt.Errorf("parse as a Nomad block: %w", err)
	}
	return json.Marshal(pick(j.TaskGroups[0]))
}

// made is a value as JSON, laid out to stand at l.
func made(v any, l layout) (*node, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return parseValue(raw, l), nil
}

func inTaskBlock(b *sidecar.Block) string {
	return hclOf([]*sidecar.Block{{Type: "task", Labels: []string{"t"}, Body: sidecar.Body{b}}})
}

func hclOf(blocks []*sidecar.Block) string {
	var out strings.Builder
	for _, b := range blocks {
		out.WriteString(b.HCL(sidecar.Style{}))
	}
	return out.String()
}
