package templater

import (
	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// defaultLogs is the default number of files and their size in MB, in Nomad
// (api.DefaultLogConfig) and in the pod driver.
const defaultLogs = 10

// driverLogs returns the logs setting for the driver; ok is false if it equals the default. A job
// read from Nomad has the defaults written out for every task, and must produce the same result
// as its source. Numbers that Nomad refuses are passed through.
func driverLogs(l job.Logs) (v cty.Value, ok bool) {
	files, size := l.Files, l.SizeMB
	if files == 0 {
		files = defaultLogs
	}
	if size == 0 {
		size = defaultLogs
	}
	if l.Disabled || files < 1 || size < 1 || (files == defaultLogs && size == defaultLogs) {
		return cty.NilVal, false
	}
	return cty.ObjectVal(map[string]cty.Value{
		"max_files":     cty.NumberIntVal(int64(files)),
		"max_file_size": cty.NumberIntVal(int64(size)),
	}), true
}

// logs repeats the logs blocks of app tasks in their config, unless the config has logs. It runs
// last in a group, since a sidecar may set logs itself.
func (x *sidecarPlan) logs() {
	for _, t := range x.state.group.Tasks {
		_, set := x.state.config[t.Name][job.LogsSetting]
		if t.Logs == nil || set || (t.Driver.Unknown == nil && t.Driver.Value != PodDriver) {
			continue
		}
		if t.Logs.Unknown != nil {
			x.unknown(t.Logs.Unknown, "The logs block of task %q of group %q, which injection repeats in the config of the pod driver,", t.Name, x.state.group.Name)
			continue
		}
		v, ok := driverLogs(*t.Logs)
		if ok && t.Driver.Unknown != nil {
			x.unknown(t.Driver.Unknown, "Whether injection repeats the logs block of task %q of group %q in its config", t.Name, x.state.group.Name)
			continue
		}
		if ok {
			x.setConfig(t, job.LogsSetting, v, nil)
		}
	}
}

// withLogs does the same for a task of a definition.
func withLogs(t *sidecar.Block) *sidecar.Block {
	v, ok := driverLogs(logsOf(t))
	if !ok || t.Body.String("driver") != PodDriver {
		return t
	}
	logs := &sidecar.Block{Type: job.LogsSetting, Range: t.Range, Body: sidecar.Body{
		&sidecar.Attr{Name: "max_files", Value: v.GetAttr("max_files")},
		&sidecar.Attr{Name: "max_file_size", Value: v.GetAttr("max_file_size")},
	}}
	out := &sidecar.Block{Type: t.Type, Labels: t.Labels, Range: t.Range}
	done := false
	for _, it := range t.Body {
		if b, ok := it.(*sidecar.Block); ok && b.Type == "config" && !done {
			if b.Body.Attr(job.LogsSetting) != nil || len(b.Body.Blocks(job.LogsSetting)) > 0 {
				return t
			}
			body := append(append(sidecar.Body{}, b.Body...), logs)
			it, done = &sidecar.Block{Type: b.Type, Labels: b.Labels, Range: b.Range, Body: body}, true
		}
		out.Body = append(out.Body, it)
	}
	if !done {
		out.Body = append(out.Body, &sidecar.Block{Type: "config", Range: t.Range, Body: sidecar.Body{logs}})
	}
	return out
}

// logsOf reads the logs block of a task of a definition.
func logsOf(t *sidecar.Block) job.Logs {
	var l job.Logs
	for _, b := range t.Body.Blocks("logs") {
		off := b.Body.Attr("disabled")
		l.Disabled = off != nil && off.Value.Type() == cty.Bool && off.Value.True()
		l.Files, l.SizeMB = whole(b.Body.Attr("max_files")), whole(b.Body.Attr("max_file_size"))
	}
	return l
}
