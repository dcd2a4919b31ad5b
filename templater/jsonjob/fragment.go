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

// fragments converts the blocks of a definition to JSON with Nomad's own parser, so that they
// equal the same blocks in a job file. Only injected blocks go through Nomad's types; the
// user's job never does. Results are cached by text, since many groups get the same blocks;
// they are shared and must not be edited.
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

// appBlock returns an element for the list of a task that job.FieldOf names.
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

// setting returns an attribute of a driver config. Nomad's parser wraps an object in a list
// (jobspec2/hclutil.BlocksAsAttrs).
func (fr fragments) setting(e *job.SetConfig, l layout) (*node, error) {
	config := &sidecar.Block{Type: "config", Body: sidecar.Body{&sidecar.Attr{Name: e.Name, Value: e.Value}}}
	n, err := fr.make("", inTaskBlock(config), l, func(g *api.TaskGroup) any { return g.Tasks[0].Config[e.Name] })
	if err != nil {
		return nil, fmt.Errorf("config %s: %w", e.Name, err)
	}
	return n, nil
}

// shaped is make for a block that differs between groups mostly in its texts.
func (fr fragments) shaped(inJob, inGroup string, b *sidecar.Block, l layout, pick func(*api.TaskGroup) any) (*node, error) {
	var s shape
	key := string(s.key(fmt.Appendf(nil, "%q %q %q %q", l.prefix, l.step, inJob, inGroup), b, false))
	m, known := templates.Get(key)
	if !known {
		text := groupOf(inJob, inGroup+hclOf([]*sidecar.Block{new(shape).block(b, false)}))
		raw, err := parsed(text, pick)
		if err == nil {
			m = newTemplate(raw, len(s.texts), l)
		}
		if len(key)+len(raw) <= maxTemplateBytes {
			templates.Add(key, m)
		}
	}
	if m == nil { // let make report the error, if there is one
		return fr.make(inJob, inGroup+hclOf([]*sidecar.Block{b}), l, pick)
	}
	return m.fill(s.texts), nil
}

// templates caches recently used shapes, nil for a shape without a template. Nomad's parser takes
// most of the time of a small job, and a proxy's jobs get much the same sidecars. Templates
// contain none of the texts.
var templates = func() *lru.Cache[string, *template] {
	c, err := lru.New[string, *template](maxTemplates)
	if err != nil {
		panic(err) // the size is positive
	}
	return c
}()

const (
	maxTemplates = 128
	// maxTemplateBytes bounds the size of the key and the JSON of a template. The template itself
	// has about ten times that.
	maxTemplateBytes = 16 << 10
)

// make parses the block in a group of a job and lays out the picked part.
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

// parsed returns the JSON of the picked part of a job's only group.
func parsed(text string, pick func(*api.TaskGroup) any) ([]byte, error) {
	j, err := jobspec2.ParseWithConfig(&jobspec2.ParseConfig{Path: "definition", Body: []byte(text), Strict: true})
	if err != nil {
		return nil, fmt.Errorf("parse as a Nomad block: %w", err)
	}
	return json.Marshal(pick(j.TaskGroups[0]))
}

// made returns a value as JSON with layout l.
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
