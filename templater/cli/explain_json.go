package cli

import (
	"encoding/json"
	"fmt"

	"github.com/hashicorp/hcl/v2"
	"github.com/nomad-sidecar/nomad-sidecar/templater"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// The forms of explain -json.
type (
	groupJSON struct {
		Name     string         `json:"name"`
		File     string         `json:"file,omitempty"`
		Line     int            `json:"line,omitempty"`
		Sidecars []*sidecarJSON `json:"sidecars"`
		Adds     *totalJSON     `json:"adds,omitempty"`
	}
	sidecarJSON struct {
		Name        string           `json:"name"`
		Version     string           `json:"version,omitempty"`
		State       string           `json:"state"`
		Reason      string           `json:"reason,omitempty"`
		Constraints []string         `json:"constraints,omitempty"`
		ChosenBy    []*sourceJSON    `json:"chosen_by,omitempty"`
		Parameters  []*parameterJSON `json:"parameters,omitempty"`
	}
	parameterJSON struct {
		Name      string          `json:"name"`
		Value     json.RawMessage `json:"value,omitempty"` // none if sensitive
		Sensitive bool            `json:"sensitive,omitempty"`
		From      *sourceJSON     `json:"from"`
	}
	sourceJSON struct {
		Origin string `json:"origin"`
		File   string `json:"file,omitempty"`
		Line   int    `json:"line,omitempty"`
	}
	totalJSON struct {
		Count     int `json:"count"` // -1 if not known
		Tasks     int `json:"tasks"`
		CPU       int `json:"cpu_mhz"`
		Cores     int `json:"cores"`
		Memory    int `json:"memory_mb"`
		MemoryMax int `json:"memory_max_mb"`
		Ports     int `json:"ports"`
		Disk      int `json:"disk_mb"`
	}
)

func explainJSON(job *templater.Job, told []*templater.Explanation, totals []templater.Total) ([]byte, hcl.Diagnostics) {
	groups := []*groupJSON{}
	for _, g := range job.Groups {
		out := &groupJSON{Name: g.Name, File: g.Range.Filename, Line: g.Range.Start.Line, Sidecars: []*sidecarJSON{}}
		for _, e := range told {
			if e.Group != g {
				continue
			}
			s, err := explanationJSON(e)
			if err != nil {
				return nil, failureOf("Cannot write JSON", err)
			}
			out.Sidecars = append(out.Sidecars, s)
		}
		for _, t := range totals {
			if t.Group == g.Name {
				out.Adds = &totalJSON{t.Count, t.Tasks, t.CPUMHz, t.Cores, t.MemoryMB, t.MemoryMaxMB, t.Ports, t.DiskMB}
			}
		}
		groups = append(groups, out)
	}
	return marshal(struct {
		Job    string       `json:"job"`
		Groups []*groupJSON `json:"groups"`
	}{job.ID, groups})
}

func explanationJSON(e *templater.Explanation) (*sidecarJSON, error) {
	out := &sidecarJSON{Name: e.Sidecar, State: e.State, Reason: e.Reason, Constraints: e.Constraints}
	if e.Definition != nil {
		out.Version = e.Definition.Version.String()
	}
	for _, s := range e.Sources {
		out.ChosenBy = append(out.ChosenBy, source(s))
	}
	for _, p := range e.Parameters {
		param := &parameterJSON{Name: p.Name, Sensitive: p.Sensitive, From: source(p.Source)}
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

func source(s templater.Source) *sourceJSON {
	return &sourceJSON{Origin: s.Origin, File: s.Range.Filename, Line: s.Range.Start.Line}
}
