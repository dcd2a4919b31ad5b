package templater

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// defaultShare is the pod driver's default for a task without its own share.
func defaultShare() []string { return []string{"ipc", "uts"} }

// withSetting adds an attribute or block with a name to the config of a task that does not have one.
func withSetting(t *sidecar.Block, setting sidecar.Item, name string) *sidecar.Block {
	out := &sidecar.Block{Type: t.Type, Labels: t.Labels, Range: t.Range}
	done := false
	for _, it := range t.Body {
		if b, ok := it.(*sidecar.Block); ok && b.Type == "config" && !done {
			if b.Body.Attr(name) != nil || len(b.Body.Blocks(name)) > 0 {
				return t
			}
			body := append(append(sidecar.Body{}, b.Body...), setting)
			it, done = &sidecar.Block{Type: b.Type, Labels: b.Labels, Range: b.Range, Body: body}, true
		}
		out.Body = append(out.Body, it)
	}
	if !done {
		out.Body = append(out.Body, &sidecar.Block{Type: "config", Range: t.Range, Body: sidecar.Body{setting}})
	}
	return out
}

// agreedSettings lists the settings of the pod driver that all tasks of a pod must agree about, each
// with its other names.
func agreedSettings() [][]string { return [][]string{{"userns", "userns_mode"}, {"runtime"}} }

// withAgreed gives a pod task the settings that the app tasks have and all tasks must.
func (x *sidecarPlan) withAgreed(t *sidecar.Block) *sidecar.Block {
	if t.Body.String("driver") != PodDriver {
		return t
	}
	for _, names := range agreedSettings() {
		t = x.withAppSetting(t, names)
	}
	return t
}

func (x *sidecarPlan) withAppSetting(t *sidecar.Block, names []string) *sidecar.Block {
	for _, app := range x.state.group.Tasks {
		for _, name := range names {
			s, set := app.Config[name]
			switch {
			case !set || app.Driver.Value != PodDriver:
			case s.Unknown != nil:
				x.unknown(s.Unknown, "The %s of task %q, which task %q of sidecar %q must have too,", name, app.Name, t.Label(), x.def.Name)
				return t
			case s.Value.IsWhollyKnown() && !s.Value.IsNull():
				return withSetting(t, &sidecar.Attr{Name: names[0], Value: s.Value}, names[0])
			}
		}
	}
	return t
}

// share adds the namespaces that the sidecar requires to the share of the app tasks.
func (x *sidecarPlan) share() {
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
				x.conflict(s.Range, "Namespace not shared", "Sidecar %q needs task %q of group %q to share %q with its pod (%s), but the task sets %s_mode. Remove that setting.",
					x.def.Name, t.Name, x.state.group.Name, ns, x.def.Requires.Range, ns)
			}
		}
		x.mergeShare(t, want)
	}
}

func (x *sidecarPlan) mergeShare(t *job.Task, want []string) {
	have, set := x.state.config[t.Name]["share"]
	if !set {
		names := defaultShare()
		for _, ns := range want {
			if !slices.Contains(names, ns) {
				names = append(names, ns)
			}
		}
		if len(names) > len(defaultShare()) {
			x.setConfig(t, "share", stringTuple(names), nil)
		}
		return
	}
	names, ok := stringsOf(have)
	if u := t.Config["share"].Unknown; !ok && u != nil {
		x.unknown(u, "What sidecar %q adds to the share of task %q of group %q", x.def.Name, t.Name, x.state.group.Name)
		return
	}
	if !ok {
		x.conflict(t.Config["share"].Range, "Unknown share", "Sidecar %q adds to the share of task %q of group %q, but its value here is not a known list of strings. Write it out, or pass its variables with -var.",
			x.def.Name, t.Name, x.state.group.Name)
		return
	}
	if len(names) == 0 {
		x.conflict(t.Config["share"].Range, "Namespace not shared", "Sidecar %q needs task %q of group %q to share %s with its pod (%s), but the task sets share = []. Remove that line, or do not choose the sidecar.",
			x.def.Name, t.Name, x.state.group.Name, quotedAnd(want), x.def.Requires.Range)
		return
	}
	x.extendConfig(t, "share", have, stringTuple(want))
}

// restartWith has the app's main tasks stop and start with the sidecar's tasks, if the sidecar
// requires it. Other app tasks may run before the sidecar.
func (x *sidecarPlan) restartWith(inst *sidecar.Instance) {
	if !x.def.Requires.RestartWith {
		return
	}
	var partners []string
	for _, t := range inst.Tasks {
		hook, stays := lifecycleOf(t)
		if hook != "" && !stays {
			continue // it does not keep running
		}
		if driver := t.Body.String("driver"); driver != PodDriver {
			x.conflict(t.Range, "Task without the pod driver", "Sidecar %q requires restart_with (%s), but its task %q has driver %q. Use driver = %q, or leave restart_with out.",
				x.def.Name, x.def.Requires.Range, t.Label(), driver, PodDriver)
			return
		}
		partners = append(partners, t.Label())
	}
	if len(partners) == 0 {
		x.conflict(x.def.Requires.Range, "No task to restart with", "Sidecar %q requires restart_with, but each of its tasks ends by itself. Leave restart_with out.", x.def.Name)
		return
	}
	list := &sidecar.Attr{Name: "restart_with", Value: stringTuple(partners), Range: x.def.Requires.Range}
	for _, t := range x.state.group.Tasks {
		if t.Hook.Unknown != nil {
			x.unknown(t.Hook.Unknown, "Whether task %q of group %q is a main task, which sidecar %q restarts,", t.Name, x.state.group.Name, x.def.Name)
			continue
		}
		if t.Hook.Value == "" && x.isPod(t, x.def.Requires.Range, "needs it to restart with "+quotedAnd(partners)) {
			x.mergeConfig(t, list)
		}
	}
}

// extendConfig adds missing items to a list in a task's config.
func (x *sidecarPlan) extendConfig(t *job.Task, name string, have, more cty.Value) {
	items := have.AsValueSlice()
	before := len(items)
	for _, v := range more.AsValueSlice() {
		if !slices.ContainsFunc(items, v.RawEquals) {
			items = append(items, v)
		}
	}
	if len(items) == before {
		return
	}
	if before == 0 {
		x.added.SetBare(t.Name, "Config."+name, job.BareEmpty)
	}
	x.setConfig(t, name, cty.TupleVal(items), items[before:])
}

// config merges the sidecar's app config: missing items are added to a list, an absent attribute
// is set, and an equal one is not changed.
func (x *sidecarPlan) config(inst *sidecar.Instance) {
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

func (x *sidecarPlan) mergeConfig(t *job.Task, a *sidecar.Attr) {
	have, set := x.state.config[t.Name][a.Name]
	if !set {
		var items []cty.Value
		if isList(a.Value) {
			items = a.Value.AsValueSlice()
		}
		x.setConfig(t, a.Name, a.Value, items)
		return
	}
	if have.IsWhollyKnown() {
		if same(have, a.Value) {
			return
		}
		if isList(have) && isList(a.Value) {
			x.extendConfig(t, a.Name, have, a.Value)
			return
		}
	}
	if u := t.Config[a.Name].Unknown; u != nil && !have.IsWhollyKnown() {
		x.unknown(u, "Whether sidecar %q may set %s in the config of task %q of group %q", x.def.Name, a.Name, t.Name, x.state.group.Name)
		return
	}
	x.conflict(t.Config[a.Name].Range, "Config conflict", "Sidecar %q sets %s in the config of the app tasks of group %q (%s), but task %q sets it to another value. Remove it there, or set the same value.",
		x.def.Name, a.Name, x.state.group.Name, a.Range, t.Name)
}

// setConfig sets an attribute of a task's config. items are the sidecar's items of a list, to
// which others may be added before eject.
func (x *sidecarPlan) setConfig(t *job.Task, name string, v cty.Value, items []cty.Value) {
	if t.MoreConfig != nil {
		x.unknown(t.MoreConfig, "The %s that injection sets in the config of task %q of group %q", name, t.Name, x.state.group.Name)
		return
	}
	e := &job.SetConfig{Group: x.state.group.Name, Task: t.Name, Name: name, Value: v}
	e.Block = name == job.LogsSetting && v.Type().IsObjectType()
	if _, set := x.state.config[t.Name][name]; set {
		e.Items = items
	}
	x.state.config[t.Name][name] = v
	var text json.RawMessage
	if len(items) > 0 {
		list := cty.TupleVal(items)
		text, _ = ctyjson.Marshal(list, list.Type()) // known values always marshal
	}
	x.added.SetConfig(t.Name, name, v, text)
	x.recordSpelling(t, "Config")
	x.add(e)
}

func (x *sidecarPlan) isPod(t *job.Task, at hcl.Range, what string) bool {
	if t.Driver.Unknown != nil {
		x.unknown(t.Driver.Unknown, "Whether task %q of group %q has driver %q, as sidecar %q %s,", t.Name, x.state.group.Name, PodDriver, x.def.Name, what)
		return false
	}
	if t.Driver.Value == PodDriver {
		return true
	}
	x.conflict(t.Range, "Task without the pod driver", "Sidecar %q %s (%s), but task %q of group %q has driver %q. Use driver = %q for the task, or do not choose the sidecar.",
		x.def.Name, what, at, t.Name, x.state.group.Name, t.Driver.Value, PodDriver)
	return false
}

// same compares settings. Nomad's parser turns an object into a list with one item.
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

func stringTuple(words []string) cty.Value {
	values := make([]cty.Value, 0, len(words))
	for _, w := range words {
		values = append(values, cty.StringVal(w))
	}
	return cty.TupleVal(values)
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
