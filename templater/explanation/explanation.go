// Package explanation defines the JSON of explain -json, which reports to programs and pages
// which sidecars a job has, and why.
//
// It chooses nothing itself: see templater.Explain. It omits the values of sensitive
// parameters, but the value of another parameter may contain one: callers that print an
// explanation must redact the texts of templater.Secrets.
package explanation

import (
	"encoding/json"
	"fmt"

	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
)

// Job is the explanation of a job.
type Job struct {
	ID     string   `json:"job"`
	Groups []*Group `json:"groups"`
}

// Group is a task group. File and Line are its position; "" and 0 if not known.
type Group struct {
	Name     string     `json:"name"`
	File     string     `json:"file,omitempty"`
	Line     int        `json:"line,omitempty"`
	Sidecars []*Sidecar `json:"sidecars"`
	Proxies  []*Proxy   `json:"proxies,omitempty"`
	Defaults []*Default `json:"defaults,omitempty"`
	Adds     *Total     `json:"adds,omitempty"`
}

// Proxy is the proxy of a service in Consul's service mesh, to which a rule gives a driver.
type Proxy struct {
	Service string  `json:"service"`
	Driver  string  `json:"driver"`
	State   string  `json:"state"` // see templater.Proxy
	Reason  string  `json:"reason,omitempty"`
	Rule    string  `json:"rule,omitempty"`
	From    *Source `json:"from"`
}

// Sidecar is a sidecar of the catalog, or a chosen one that the catalog does not have.
type Sidecar struct {
	Name        string       `json:"name"`
	Version     string       `json:"version,omitempty"`
	Deprecated  string       `json:"deprecated,omitempty"` // what to use instead
	State       string       `json:"state"`                // see templater.StateChosen and the others
	Reason      string       `json:"reason,omitempty"`
	Constraints []string     `json:"constraints,omitempty"`
	ChosenBy    []*Source    `json:"chosen_by,omitempty"` // the strongest first
	Parameters  []*Parameter `json:"parameters,omitempty"`
}

// Parameter is a parameter with its value as JSON, omitted if it is sensitive.
type Parameter struct {
	Name       string          `json:"name"`
	Value      json.RawMessage `json:"value,omitempty"`
	Sensitive  bool            `json:"sensitive,omitempty"`
	Deprecated string          `json:"deprecated,omitempty"` // what to use instead
	Uses       []string        `json:"uses,omitempty"`       // outputs, such as sidecar.broker.address
	From       *Source         `json:"from"`
}

// Default is a default of the policy. Task is "" for the group.
type Default struct {
	Name  string          `json:"name"`
	Task  string          `json:"task,omitempty"`
	State string          `json:"state"`           // see templater.DefaultSet and the others
	Value json.RawMessage `json:"value,omitempty"` // as in Nomad's API; omitted for env and vault
	Rule  string          `json:"rule"`
	From  *Source         `json:"from"`
	// Written is the position of the field in the job, if the job has it.
	Written *Source `json:"written,omitempty"`
}

// Source is the origin of a choice or of a value, with its position.
type Source struct {
	Origin string `json:"origin"`
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
}

// Total is the resources that the sidecars of a group add to each of its allocations.
type Total struct {
	Count     int `json:"count"` // of allocations, -1 if not known
	Tasks     int `json:"tasks"`
	CPU       int `json:"cpu_mhz"`
	Cores     int `json:"cores"`
	Memory    int `json:"memory_mb"`
	MemoryMax int `json:"memory_max_mb"`
	Ports     int `json:"ports"`
	Disk      int `json:"disk_mb"`
}

// Of converts the results of templater.Explain, templater.Proxies and templater.Totals, and the states
// of defaults. It returns an error if a value cannot be written as JSON.
func Of(j *job.Job, told []*templater.Explanation, defaults []*templater.DefaultState, proxies []*templater.Proxy, totals []templater.Total) (*Job, error) {
	out := &Job{ID: j.ID.Value, Groups: []*Group{}}
	for _, g := range j.Groups {
		group := &Group{Name: g.Name, File: g.Range.Filename, Line: g.Range.Start.Line, Sidecars: []*Sidecar{}}
		for _, e := range told {
			if e.Group != g {
				continue
			}
			s, err := sidecarOf(e)
			if err != nil {
				return nil, err
			}
			group.Sidecars = append(group.Sidecars, s)
		}
		for _, p := range proxies {
			if p.Group == g {
				group.Proxies = append(group.Proxies, &Proxy{p.Service.Name.String(), p.Driver, p.State, p.Reason, p.Rule, source(p.Source())})
			}
		}
		for _, s := range defaults {
			if s.Group == g {
				group.Defaults = append(group.Defaults, defaultOf(s))
			}
		}
		for _, t := range totals {
			if t.Group == g.Name {
				group.Adds = &Total{t.Count, t.Tasks, t.CPUMHz, t.Cores, t.MemoryMB, t.MemoryMaxMB, t.Ports, t.DiskMB}
			}
		}
		out.Groups = append(out.Groups, group)
	}
	return out, nil
}

func defaultOf(s *templater.DefaultState) *Default {
	out := &Default{
		Name: s.Default.Name(), Task: s.Task, State: s.State, Rule: s.Default.Rule,
		From: source(templater.Source{Origin: templater.OriginPolicy, Range: s.Default.Range}),
	}
	if !s.Default.Field.Private {
		out.Value = s.Default.JSON
	}
	if s.State == templater.DefaultWritten || s.State == templater.DefaultNotSeen {
		out.Written = source(templater.Source{Origin: "job", Range: s.Written})
	}
	return out
}

func sidecarOf(e *templater.Explanation) (*Sidecar, error) {
	out := &Sidecar{Name: e.Sidecar, State: e.State, Reason: e.Reason, Constraints: e.Constraints}
	if e.Definition != nil {
		out.Version, out.Deprecated = e.Definition.Version.String(), e.Definition.Deprecated
	}
	for _, s := range e.Sources {
		out.ChosenBy = append(out.ChosenBy, source(s))
	}
	for _, p := range e.Parameters {
		param := &Parameter{Name: p.Name, Sensitive: p.Sensitive, Deprecated: p.Deprecated, Uses: p.Uses, From: source(p.Source)}
		if !p.Sensitive {
			raw, err := ctyjson.Marshal(p.Value, p.Value.Type())
			if err != nil {
				return nil, fmt.Errorf("parameter %s: %w", p.Name, err)
			}
			param.Value = raw
		}
		out.Parameters = append(out.Parameters, param)
	}
	return out, nil
}

func source(s templater.Source) *Source {
	return &Source{Origin: s.Origin, File: s.Range.Filename, Line: s.Range.Start.Line}
}
