package templater

import (
	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

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
		v, ok := t.Logs.ForDriver()
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
	v, ok := logsOf(t).ForDriver()
	if !ok || t.Body.String("driver") != PodDriver {
		return t
	}
	logs := &sidecar.Block{Type: job.LogsSetting, Range: t.Range, Body: sidecar.Body{
		&sidecar.Attr{Name: "max_files", Value: v.GetAttr("max_files")},
		&sidecar.Attr{Name: "max_file_size", Value: v.GetAttr("max_file_size")},
	}}
	return withSetting(t, logs, job.LogsSetting)
}

// logsOf reads the logs block of a task of a definition.
func logsOf(t *sidecar.Block) job.Logs {
	var l job.Logs
	for _, b := range t.Body.Blocks("logs") {
		l = logsBlock(b)
	}
	return l
}

// logsBlock reads a logs block with known values.
func logsBlock(b *sidecar.Block) job.Logs {
	off := b.Body.Attr("disabled")
	return job.Logs{
		Files: whole(b.Body.Attr("max_files")), SizeMB: whole(b.Body.Attr("max_file_size")),
		Disabled: off != nil && off.Value.Type() == cty.Bool && off.Value.True(),
	}
}
