package templater

import (
	"fmt"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// defaultShare is what a pod task shares without a share of its own: the pod
// driver's default.
func defaultShare() []string { return []string{"ipc", "uts"} }

// share adds the namespaces that the sidecar requires to those of the app tasks.
func (x *injection) share() {
	want := x.def.Requires.Share
	if len(want) == 0 {
		return
	}
	for _, t := range x.state.group.Tasks {
		if !x.isPod(t, x.def.Requires.Range, "needs it to share "+quotedAnd(want)) {
			continue
		}
		for _, ns := range want {
			if s, ok := t.Config[ns+"_mode"]; ok {
				x.conflict(s.Range, "Namespace not shared", "Sidecar %q needs task %q of group %q to share %q with its pod (%s), but the task sets %s_mode. Remove that.",
					x.def.Name, t.Name, x.state.group.Name, ns, x.def.Requires.Range, ns)
			}
		}
		x.mergeShare(t, want)
	}
}

func (x *injection) mergeShare(t *Task, want []string) {
	have, set := x.state.config[t.Name]["share"]
	names := defaultShare()
	if set {
		var ok bool
		names, ok = stringsOf(have)
		if !ok {
			x.conflict(t.Config["share"].Range, "Share not known", "Sidecar %q adds to the share of task %q of group %q, but its value here is no list of strings that is known now. Write it out, or give its variables with -var.",
				x.def.Name, t.Name, x.state.group.Name)
			return
		}
		if len(names) == 0 {
			x.conflict(t.Config["share"].Range, "Namespace not shared", "Sidecar %q needs task %q of group %q to share %s with its pod (%s), but the task says share = []. Remove that line, or do not choose the sidecar.",
				x.def.Name, t.Name, x.state.group.Name, quotedAnd(want), x.def.Requires.Range)
			return
		}
	}
	merged := slices.Clone(names)
	for _, ns := range want {
		if !slices.Contains(merged, ns) {
			merged = append(merged, ns)
		}
	}
	if len(merged) == len(names) {
		return
	}
	values := make([]cty.Value, 0, len(merged))
	for _, ns := range merged {
		values = append(values, cty.StringVal(ns))
	}
	x.setConfig(t, "share", cty.TupleVal(values))
}

// config merges the sidecar's app config: a list gets the items that it lacks, an
// absent attribute is set, and an equal one left alone.
func (x *injection) config(inst *sidecar.Instance) {
	if len(inst.Config) == 0 {
		return
	}
	for _, t := range x.state.group.Tasks {
		if !x.isPod(t, x.def.Range, "changes the config of app tasks") {
			continue
		}
		for _, a := range inst.Config {
			x.mergeConfig(t, a)
		}
	}
}

func (x *injection) mergeConfig(t *Task, a *sidecar.Attr) {
	have, set := x.state.config[t.Name][a.Name]
	if !set {
		x.setConfig(t, a.Name, a.Value)
		return
	}
	if have.IsWhollyKnown() {
		if same(have, a.Value) {
			return
		}
		if isList(have) && isList(a.Value) {
			items := have.AsValueSlice()
			for _, v := range a.Value.AsValueSlice() {
				if !slices.ContainsFunc(items, v.RawEquals) {
					items = append(items, v)
				}
			}
			if len(items) > have.LengthInt() {
				x.setConfig(t, a.Name, cty.TupleVal(items))
			}
			return
		}
	}
	x.conflict(t.Config[a.Name].Range, "Config taken", "Sidecar %q sets %s in the config of the app tasks of group %q (%s), but task %q sets it to something else. Remove it there, or set it to the same value.",
		x.def.Name, a.Name, x.state.group.Name, a.Range, t.Name)
}

func (x *injection) setConfig(t *Task, name string, v cty.Value) {
	var before *string
	if have, ok := x.state.config[t.Name][name]; ok && have.IsWhollyKnown() {
		if text, err := ctyjson.Marshal(have, have.Type()); err == nil {
			s := string(text)
			before = &s
		}
	}
	x.state.config[t.Name][name] = v
	x.added.config(t.Name, name, before)
	x.fill(t, "Config")
	x.add(&SetConfig{Group: x.state.group.Name, Task: t.Name, Name: name, Value: v})
}

func (x *injection) isPod(t *Task, at hcl.Range, what string) bool {
	if t.Driver == PodDriver {
		return true
	}
	x.conflict(t.Range, "Task not of the pod driver", "Sidecar %q %s (%s), but task %q of group %q has driver %q. Use driver = %q for the task, or do not choose the sidecar.",
		x.def.Name, what, at, t.Name, x.state.group.Name, t.Driver, PodDriver)
	return false
}

// same compares settings. Past Nomad's parser an object is the only item of a list.
func same(x, y cty.Value) bool {
	unwrap := func(v cty.Value) cty.Value {
		if isList(v) && v.LengthInt() == 1 && v.AsValueSlice()[0].Type().IsObjectType() {
			return v.AsValueSlice()[0]
		}
		return v
	}
	return unwrap(x).RawEquals(unwrap(y))
}

func isList(v cty.Value) bool {
	t := v.Type()
	return !v.IsNull() && (t.IsListType() || t.IsTupleType() || t.IsSetType())
}

func stringsOf(v cty.Value) ([]string, bool) {
	if !v.IsWhollyKnown() || !isList(v) {
		return nil, false
	}
	var out []string
	for _, e := range v.AsValueSlice() {
		if e.IsNull() || e.Type() != cty.String {
			return nil, false
		}
		out = append(out, e.AsString())
	}
	return out, true
}

func quotedAnd(words []string) string {
	out := ""
	for i, w := range words {
		if i > 0 {
			out += ", "
		}
		out += fmt.Sprintf("%q", w)
	}
	return out
}
