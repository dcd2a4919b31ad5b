package sidecar

import "slices"

// Reach lists the possible changes of a definition outside its own tasks, determined
// without evaluating it.
type Reach struct {
	Ports, Env, Appended, Config, Volumes, Blocks []string
	Services                                      int
}

// Reach returns the possible changes outside the definition's own tasks.
func (d *Definition) Reach() Reach {
	r := Reach{Services: len(d.services)}
	for _, p := range d.API.Ports {
		r.Ports = append(r.Ports, p.Label)
	}
	for _, e := range d.API.Env {
		if e.Append {
			r.Appended = append(r.Appended, e.Name)
			continue
		}
		r.Env = append(r.Env, e.Name)
	}
	for _, v := range d.volumes {
		r.Volumes = append(r.Volumes, v.Labels[0])
	}
	if len(d.Requires.Share) > 0 {
		r.Config = append(r.Config, "share")
	}
	if d.Requires.RestartWith {
		r.Config = append(r.Config, "restart_with")
	}
	if d.app == nil {
		return r
	}
	for _, b := range d.app.Body.Blocks {
		if b.Type == "dynamic" {
			r.Blocks = append(r.Blocks, b.Labels...)
			continue
		}
		var names []string
		for _, a := range sortedAttributes(b.Body) {
			names = append(names, a.Name)
		}
		switch b.Type {
		case "env":
			r.Env = append(r.Env, names...)
		case "config":
			r.Config = append(r.Config, names...)
		default:
			r.Blocks = append(r.Blocks, b.Type)
		}
	}
	return r
}

// TaskNames returns the names of the injected tasks.
func (d *Definition) TaskNames() []string {
	names := make([]string, 0, len(d.tasks))
	for _, t := range d.tasks {
		names = append(names, t.Labels[0])
	}
	return names
}

// Has reports whether the definition has a parameter with that name.
func (d *Definition) Has(parameter string) bool {
	return slices.ContainsFunc(d.Parameters, func(p *Parameter) bool { return p.Name == parameter })
}

// Brings reports whether the definition has a task with that name.
func (d *Definition) Brings(task string) bool { return slices.Contains(d.TaskNames(), task) }
