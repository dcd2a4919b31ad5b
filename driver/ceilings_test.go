package driver

import (
	"testing"

	"github.com/hashicorp/nomad/nomad/structs"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver/cgroup"
)

func TestCeilings(t *testing.T) {
	plugin := func(change func(*PluginConfig)) settings {
		t.Helper()
		c := PluginConfig{LogCollector: "pod", PodLinger: "1m", Image: ImageConfig{PullTimeout: "5m", PullActivityTimeout: "1m"}}
		if change != nil {
			change(&c)
		}
		s, err := newSettings(c)
		must.NoError(t, err)
		return s
	}
	raised := func(c *PluginConfig) {
		c.UlimitMax = map[string]string{"rtprio": "10", "nice": "unlimited", "nofile": "64"}
		c.SwapMax, c.LogsMax = "1g", "10g"
	}
	free := func(c *PluginConfig) { c.SwapMax, c.LogsMax = "-1", "-1" }
	none := func(c *PluginConfig) { c.SwapMax = "0" }
	for name, tc := range map[string]struct {
		change func(*PluginConfig)
		hcl    string
		want   string // part of the error; empty if allowed
	}{
		"rtprio":             {nil, `ulimit = { rtprio = "1" }`, `ulimit: rtprio = "1" is above the Nomad client's own limit of 0: the operator can set ulimit_max { rtprio = … }`},
		"rtprio, allowed":    {raised, `ulimit = { rtprio = "0" }`, ``},
		"rtprio, too much":   {raised, `ulimit = { rtprio = "11" }`, `ulimit: rtprio = "11" is above the operator's limit of 10: the operator can raise ulimit_max { rtprio = … }`},
		"rtprio, unlimited":  {raised, `ulimit = { rtprio = "0:unlimited" }`, `above the operator's limit of 10`},
		"nice":               {nil, `ulimit = { nice = "40" }`, `above the Nomad client's own limit of 0`},
		"msgqueue":           {nil, `ulimit = { msgqueue = "-1" }`, `ulimit: msgqueue = "-1" is above the Nomad client's own limit of`},
		"sigpending":         {nil, `ulimit = { sigpending = "-1" }`, `ulimit: sigpending = "-1" is above the Nomad client's own limit of`},
		"open files":         {nil, `ulimit = { nofile = "1073741825" }`, `ulimit: nofile = "1073741825" is above the`},
		"open files, capped": {raised, `ulimit = { nofile = "65" }`, `above the operator's limit of 64`},
		"swap, as memory":    {nil, `memory_swap = "128m"`, ``},
		"swap":               {nil, `memory_swap = "129m"`, `memory_swap = "129m" is more than 64 MiB of swap in addition to the task's memory: the operator can raise swap_max`},
		"swap, unlimited":    {nil, `memory_swap = "-1"`, `memory_swap = "-1" is more than 64 MiB of swap`},
		"swap, raised":       {raised, `memory_swap = "1g"`, ``},
		"swap, still -1":     {raised, `memory_swap = "-1"`, `more than 1024 MiB of swap`},
		"swap, free":         {free, `memory_swap = "-1"`, ``},
		"swap, none":         {none, `memory_swap = "65m"`, `more than 0 MiB of swap`},
		"swap, none asked":   {none, `memory_swap = "64m"`, ``},
		"logs":               {nil, "logs {\n max_files = 103\n}", `logs: max_files = 103 of max_file_size = 10 MiB exceed 1024 MiB per output: the operator can raise logs_max`},
		"logs, allowed":      {nil, "logs {\n max_files = 102\n}", ``},
		"logs, overflow":     {nil, "logs {\n max_files = 9223372036854775807\n max_file_size = 9223372036854775807\n}", `exceed 1024 MiB`},
		"logs, raised":       {raised, "logs {\n max_files = 1024\n}", ``},
		"logs, free":         {free, "logs {\n max_files = 1000000\n}", ``},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := taskConfig(t, decode(t, "command = \"a\"\n"+tc.hcl))
			cfg.Resources = &drivers.Resources{NomadResources: &structs.AllocatedTaskResources{Memory: structs.AllocatedMemoryResources{MemoryMB: 64}}}
			_, err := plugin(tc.change).taskFrom(cfg, cgroup.V2)
			if tc.want == "" {
				must.NoError(t, err)
				return
			}
			must.ErrorContains(t, err, tc.want)
		})
	}
}

func TestCeilings_Wrong(t *testing.T) {
	for want, c := range map[string]PluginConfig{
		`swap_max = "big": want a size`:                    {SwapMax: "big"},
		`logs_max = "-2": want a size`:                     {LogsMax: "-2"},
		`ulimit_max: rtprio = "1:2": want one number`:      {UlimitMax: map[string]string{"rtprio": "1:2"}},
		`ulimit_max: files = "1": want one number for a`:   {UlimitMax: map[string]string{"files": "1"}},
		`ulimit_max: nofile = "many": want one number for`: {UlimitMax: map[string]string{"nofile": "many"}},
	} {
		_, err := newSettings(c)
		must.ErrorContains(t, err, want)
	}
}
