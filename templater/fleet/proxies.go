package fleet

import (
	"fmt"
	"slices"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
)

// Proxy is the proxy or gateway of a service in Consul's service mesh to which a rule of the policy gives
// a driver, or an earlier injection did.
type Proxy struct {
	Service string `json:"service"`
	Driver  string `json:"driver"` // of the rule
	// State is StateOK, StateMissing if the proxy has another driver, or StateUnwanted if no rule
	// gives it this one.
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
}

// Row returns the proxy as a line of a table of sidecars.
func (p *Proxy) Row() *Sidecar {
	return &Sidecar{Name: p.name(), State: p.State, Origin: templater.OriginPolicy, Reason: p.Reason}
}

func (p *Proxy) name() string { return "proxy of " + p.Service }

// Rows returns the sidecars of a group, and its proxies as lines of the same table.
func (g *Group) Rows() []*Sidecar {
	out := slices.Clone(g.Sidecars)
	for _, p := range g.Proxies {
		out = append(out, p.Row())
	}
	return out
}

// Proxies returns the proxies of all groups.
func (j *Job) Proxies() []*Proxy {
	var out []*Proxy
	for _, g := range j.Groups {
		out = append(out, g.Proxies...)
	}
	return out
}

// proxies judges the proxies of the job's services.
func (i *inspection) proxies() {
	decided, diags := templater.Proxies(i.Document.Job(), i.Flags)
	i.job.Problems = append(i.job.Problems, texts(diags)...)
	of := map[*job.Service]*templater.Proxy{}
	for _, p := range decided {
		of[p.Service] = p
	}
	for _, g := range i.Document.Job().Groups {
		for n := range g.Services {
			s := &g.Services[n]
			if s.Mesh == nil {
				continue
			}
			if p := judgeProxy(s, of[s]); p != nil {
				to := i.job.group(g.Name)
				to.Proxies = append(to.Proxies, p)
			}
		}
	}
}

// judgeProxy compares the proxy of a service with the decision about it, nil for none. It returns nil
// if there is nothing to say.
func judgeProxy(s *job.Service, decided *templater.Proxy) *Proxy {
	out := &Proxy{Service: s.Name.Value, Driver: templater.PodDriver}
	switch chosen := decided != nil && decided.State == templater.StateChosen; {
	case chosen && s.Mesh.Marked:
		out.State = StateOK
	case chosen:
		out.State, out.Reason = StateMissing, fmt.Sprintf("rule %s gives it driver %s", decided.Rule, decided.Driver)
	case !s.Mesh.Marked:
		return nil
	case decided != nil:
		out.State, out.Reason = StateUnwanted, decided.Reason
	default:
		out.State, out.Reason = StateUnwanted, "the policy gave it its driver and no longer does"
	}
	return out
}

// describeProxies describes the changes of proxies, like describe and describeEject.
func (s *Step) describeProxies(before, after *Job, eject bool) {
	for _, g := range before.Groups {
		for _, had := range g.Proxies {
			if had.State == StateOK && !eject || had.State == StateMissing && eject {
				continue
			}
			line := fmt.Sprintf("group %s: %s ", g.Name, had.name())
			i := slices.IndexFunc(after.group(g.Name).Proxies, func(o *Proxy) bool { return o.Service == had.Service })
			switch now := i >= 0 && after.group(g.Name).Proxies[i].State == StateOK; {
			case had.State == StateMissing && now:
				s.Changes = append(s.Changes, line+"gets driver "+had.Driver)
			case had.State == StateMissing, now:
				s.Left = append(s.Left, line+"keeps its driver")
			default:
				s.Changes = append(s.Changes, line+"gets the driver that Nomad chooses")
				if i >= 0 {
					s.Left = append(s.Left, line+"gets driver "+had.Driver+" again at the next injection, since "+after.group(g.Name).Proxies[i].Reason)
				}
			}
		}
	}
}
