package sidecardoc

import (
	"fmt"
	"strings"

	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// inAppTasks is the detail of changes to app tasks.
const inAppTasks = "in every app task"

// Page is the documentation of one definition, as plain text without escapes.
// Entries are in the order of the definition.
type Page struct {
	Name, Version, Summary string
	Parameters             []Parameter
	API                    []Item
	// Requires lists the requirements on a group.
	Requires []string
	// Brings lists additions to a group other than tasks, and changes to app tasks.
	Brings []Item
	Tasks  []Task
	// Example is a group that uses the sidecar, in HCL.
	Example string
	Declared
}

// Parameter is a row of the table of parameters. Default is an HCL expression, ""
// for a required parameter. Rules are the messages of its validations.
type Parameter struct {
	Name, Type, Default, Description string
	// Deprecated says what to use instead; "" if the parameter is not deprecated.
	Deprecated          string
	Required, Sensitive bool
	Rules               []string
}

// Item is a named part of a definition. Kind is "port", "directory", "env", "signal",
// "service", "volume" and so on.
type Item struct {
	Kind, Name, Detail, Description string
}

// Task is an injected task.
type Task struct {
	Name, Driver, Lifecycle, Resources string
}

// New returns the documentation of a definition.
func New(d *sidecar.Definition) *Page {
	p := &Page{Name: d.Name, Version: d.Version.String(), Summary: d.Summary, Requires: requires(d), Example: example(d), Declared: declared(d)}
	for _, param := range d.Parameters {
		row := Parameter{
			Name: param.Name, Type: param.TypeString(), Description: param.Description,
			Required: param.Required(), Sensitive: param.Sensitive, Rules: param.Rules(), Deprecated: param.Deprecated,
		}
		switch {
		case param.Required():
		case param.Sensitive && !param.Default.IsNull():
			row.Default = "(sensitive)"
		default:
			row.Default = oneLine(param.Default)
		}
		p.Parameters = append(p.Parameters, row)
	}
	inst := d.Sample()
	p.api(d, inst)
	if inst != nil {
		p.brings(inst)
	}
	return p
}

func (p *Page) api(d *sidecar.Definition, inst *sidecar.Instance) {
	inside := map[string]int{}
	if inst != nil {
		for _, port := range inst.Ports {
			inside[port.Label] = port.To
		}
	}
	for _, port := range d.API.Ports {
		item := Item{Kind: "port", Name: port.Label, Description: port.Description}
		if to := inside[port.Label]; to > 0 {
			item.Detail = fmt.Sprintf("%d inside the pod", to)
		}
		p.API = append(p.API, item)
	}
	for _, dir := range d.API.Directories {
		p.API = append(p.API, Item{Kind: "directory", Name: dir.Path, Detail: dir.Access, Description: dir.Description})
	}
	for _, v := range d.API.Env {
		p.API = append(p.API, Item{Kind: "env", Name: v.Name, Detail: inAppTasks, Description: describeEnv(v)})
	}
	for _, s := range d.API.Signals {
		p.API = append(p.API, Item{Kind: "signal", Name: s.Name, Description: s.Description})
	}
}

// describeEnv says of an appended variable that it is appended.
func describeEnv(v *sidecar.Env) string {
	if !v.Append {
		return v.Description
	}
	return strings.TrimSpace(fmt.Sprintf("%s Appended to the task's own value, after %q.", v.Description, v.Separator))
}

func (p *Page) brings(inst *sidecar.Instance) {
	for _, t := range inst.Tasks {
		p.Tasks = append(p.Tasks, Task{
			Name: t.Label(), Driver: t.Body.String("driver"), Lifecycle: lifecycle(t), Resources: resources(templater.TaskResources(t)),
		})
	}
	for _, s := range inst.Services {
		p.Brings = append(p.Brings, Item{Kind: "service", Name: s.Body.String("name"), Detail: "of the group"})
	}
	for _, v := range inst.Volumes {
		p.Brings = append(p.Brings, Item{Kind: "volume", Name: v.Label(), Detail: "of the group"})
	}
	declared := map[string]bool{}
	for _, item := range p.API {
		declared[item.Kind+item.Name] = true
	}
	for _, v := range inst.Env {
		if !declared["env"+v.Name] {
			p.Brings = append(p.Brings, Item{Kind: "env", Name: v.Name, Detail: inAppTasks})
		}
	}
	for _, a := range inst.Config {
		p.Brings = append(p.Brings, Item{Kind: "config", Name: a.Name, Detail: inAppTasks})
	}
	for _, b := range inst.App {
		name := b.Body.String("destination")
		p.Brings = append(p.Brings, Item{Kind: b.Type, Name: name, Detail: inAppTasks})
	}
}

func lifecycle(t *sidecar.Block) string {
	blocks := t.Body.Blocks("lifecycle")
	if len(blocks) == 0 {
		return "a main task, beside the app"
	}
	out := blocks[0].Body.String("hook")
	if a := blocks[0].Body.Attr("sidecar"); a != nil && a.Value.Type() == cty.Bool && a.Value.True() {
		out += ", stays beside the app"
	}
	return out
}

func resources(r templater.Resources) string {
	cpu := fmt.Sprintf("%d MHz", r.CPUMHz)
	if r.Cores > 0 {
		cpu = fmt.Sprintf("%d cores", r.Cores)
	}
	out := fmt.Sprintf("%s, %d MB", cpu, r.MemoryMB)
	if r.MemoryMaxMB > r.MemoryMB {
		out += fmt.Sprintf(", at most %d MB", r.MemoryMaxMB)
	}
	return out
}

func requires(d *sidecar.Definition) []string {
	var out []string
	r := d.Requires
	if len(r.Network) > 0 {
		out = append(out, "network mode "+strings.Join(r.Network, " or "))
	}
	if len(r.Share) > 0 {
		out = append(out, "app tasks of the pod driver, which get share = "+strings.Join(r.Share, ", "))
	}
	if r.RestartWith {
		out = append(out, "app tasks of the pod driver, of which the main ones stop and start with it")
	}
	if len(r.After) > 0 {
		out = append(out, "comes after "+strings.Join(r.After, ", ")+", where present")
	}
	if len(r.Conflicts) > 0 {
		out = append(out, "not together with "+strings.Join(r.Conflicts, ", "))
	}
	for _, ref := range d.Uses() {
		if ref.Sidecar != d.Name {
			out = append(out, "output "+ref.String())
		}
	}
	if r.Nomad != nil {
		out = append(out, "Nomad "+r.Nomad.String())
	}
	return out
}

// example returns a group that uses the sidecar.
func example(d *sidecar.Definition) string {
	body := sidecar.Body{}
	for _, p := range d.Parameters {
		if p.Required() || (p.Example != cty.NilVal && p.Deprecated == "") {
			body = append(body, &sidecar.Attr{Name: p.Name, Value: p.Sample()})
		}
	}
	return groupWith(d, body)
}

// groupWith returns a group with a sidecar block that sets parameters.
func groupWith(d *sidecar.Definition, parameters sidecar.Body) string {
	body := append(sidecar.Body{&sidecar.Attr{Name: "version", Value: cty.StringVal(constraint(d))}}, parameters...)
	group := sidecar.Body{}
	mode := "bridge"
	if n := d.Requires.Network; len(n) > 0 {
		mode = n[0]
	}
	group = append(group,
		&sidecar.Block{Type: "network", Body: sidecar.Body{&sidecar.Attr{Name: "mode", Value: cty.StringVal(mode)}}},
		&sidecar.Block{Type: "sidecar", Labels: []string{d.Name}, Body: body},
		&sidecar.Block{Type: "task", Labels: []string{"app"}, Body: sidecar.Body{&sidecar.Attr{Name: "driver", Value: cty.StringVal("pod")}}},
	)
	return (&sidecar.Block{Type: "group", Labels: []string{"web"}, Body: group}).HCL(sidecar.Style{})
}

func constraint(d *sidecar.Definition) string {
	if d.Version.Prerelease() != "" {
		return d.Version.String()
	}
	s := d.Version.Segments()
	return fmt.Sprintf("~> %d.%d", s[0], s[1])
}

// oneLine renders a value as an expression on one line.
func oneLine(v cty.Value) string {
	return sidecar.Value(v, sidecar.Style{Flat: true})
}
