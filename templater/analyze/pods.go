package analyze

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
)

// pods checks the tasks of the pod driver.
func (c *checker) pods() {
	var keys podSchema
	first := true
	for _, t := range c.group.Tasks {
		if !t.isPod() || t.isProxy() {
			continue
		}
		if first {
			c.podNetwork()
			keys, first = newPodSchema(), false
		}
		c.refused(t, keys.refused)
		c.unknownKeys(t, keys, "", t.Config)
		c.podPrograms(t)
		c.order(t)
		c.podLogs(t)
	}
}

// podSchema has the keys of each block, by its path.
type podSchema struct {
	keys    map[string]map[string]string // kinds by name
	refused []refusedKey
	other   map[string]bool // the names of refused
}

func newPodSchema() podSchema {
	own, refused := podKeys()
	s := podSchema{keys: map[string]map[string]string{}, refused: refused, other: map[string]bool{}}
	put := func(block, name, kind string) {
		if s.keys[block] == nil {
			s.keys[block] = map[string]string{}
		}
		s.keys[block][name] = kind
	}
	for _, k := range own {
		block, name := "", k.name
		if i := strings.LastIndex(name, "."); i >= 0 {
			block, name = name[:i], name[i+1:]
		}
		put(block, name, k.kind)
		if block == "mount" || strings.HasPrefix(block, "mount.") { // mounts is another name for mount
			put("mounts"+strings.TrimPrefix(block, "mount"), name, k.kind)
		}
	}
	for _, k := range refused {
		s.other[k.name] = true
	}
	return s
}

// unknownKeys finds keys that a block does not have.
func (c *checker) unknownKeys(t *task, schema podSchema, block string, cfg *config) {
	for _, name := range cfg.names() {
		kind, ok := schema.keys[block][name]
		s, _ := cfg.get(name)
		path := strings.TrimPrefix(block+"."+name, ".")
		switch {
		case block == "" && schema.other[name], strings.HasSuffix(path, ".volume_options"):
		case !ok:
			c.report("NS1051", t, at(s.Range, t), t.Name, c.group.Name, path, suggest(name, schema.keys[block]))
		case kind == "block" || kind == "blocks":
			all, _ := cfg.blocks(name)
			for _, b := range all {
				c.unknownKeys(t, schema, path, &config{b})
			}
		case kind == "named blocks":
			for _, b := range namedBlocks(cfg, name) {
				c.unknownKeys(t, schema, path, &config{b})
			}
		}
	}
}

// at returns a position, or the task's position if there is none.
func at(r hcl.Range, t *task) hcl.Range {
	if r == (hcl.Range{}) {
		return t.Range
	}
	return r
}

// namedBlocks returns the blocks with a label. In JSON the label is a key around the block.
func namedBlocks(cfg *config, name string) (out []*job.Node) {
	all, _ := cfg.blocks(name)
	for _, b := range all {
		if len(b.Labels) > 0 {
			out = append(out, b)
			continue
		}
		for _, s := range b.Attrs {
			inner, _ := objectsOf(s.Value, s.Range)
			out = append(out, inner...)
		}
	}
	return out
}

// refused finds keys and values that the driver refuses.
func (c *checker) refused(t *task, keys []refusedKey) {
	refuse := func(name, what, instead string) {
		s, _ := t.Config.get(name)
		c.report("NS1050", t, at(s.Range, t), t.Name, c.group.Name, what, instead)
	}
	for _, k := range keys {
		s, ok := t.Config.get(k.name)
		if !ok || c.harmless(t, k, s) {
			continue
		}
		what := k.name
		if k.accepted != "–" {
			what = fmt.Sprintf("%s, except %s", k.name, strings.ReplaceAll(k.accepted, "`", ""))
		}
		refuse(k.name, what, k.instead)
	}
	if v := setting(t.Config, "tty", toBool); v.V {
		refuse("tty", "tty = true", "nomad alloc exec -t")
	}
	for _, name := range []string{"userns", "userns_mode"} {
		if v := t.Config.text(name); v.Known && v.V != "host" && v.V != "auto" {
			refuse(name, fmt.Sprintf("%s = %q", name, v.V), "host or auto, and the task's user")
		}
	}
	if auth := t.Config.block("auth"); auth != nil {
		if v, ok := auth.node.Attrs["tls_verify"]; ok && settingOf(v, toBool).Known && !settingOf(v, toBool).V {
			refuse("auth", "auth.tls_verify = false", "insecure = true for the registry in registries.conf")
		}
	}
	for _, name := range []string{"mount", "mounts"} {
		all, _ := t.Config.blocks(name)
		for _, m := range all {
			if read(m, "type", toText).V == "volume" {
				refuse(name, name+" of type volume", "a CSI or host volume of the group, with volume_mount")
			}
		}
	}
}

// harmless reports whether the driver accepts the value of a key that it otherwise refuses, or may
// accept it.
func (c *checker) harmless(t *task, k refusedKey, s job.Setting) bool {
	unknown := s.Unknown != nil || !s.Value.IsWhollyKnown()
	switch k.accepted {
	case "any":
		return true
	case "`false`":
		v := settingOf(s, toBool)
		return unknown || v.Known && !v.V
	case "`private`", "`default`":
		v := settingOf(s, toText)
		return unknown || v.Unknown() || v.V == strings.Trim(k.accepted, "`")
	case "`{ disable = true }`":
		b := t.Config.block(k.name)
		return b == nil || setting(b, "disable", toBool).V || setting(b, "disable", toBool).Unknown()
	case "the mode of the group's network":
		v, mode := settingOf(s, toText), ""
		mode, known := c.group.ownMode()
		if strings.HasPrefix(mode, "cni/") {
			mode = "bridge"
		}
		return v.Unknown() || !known || v.V == mode
	}
	return false
}

func (c *checker) podNetwork() {
	if c.group.More {
		return
	}
	for _, n := range c.group.Networks {
		if n.Hostname.Set && n.Hostname.Known && n.Hostname.V != "" {
			c.report("NS1055", nil, n.Hostname.Range, c.group.Name, "hostname in its network block")
		}
		if n.Mode.V == "none" {
			c.report("NS1055", nil, n.Mode.Range, c.group.Name, "a network of mode none")
		}
	}
}

func (c *checker) podPrograms(t *task) {
	if !t.Config.may("image") && !t.Config.may("command") {
		c.report("NS1052", t, t.Range, t.Name, c.group.Name)
	}
	mode, known := c.group.ownMode()
	if ports := t.Config.list("ports"); known && mode == "host" && len(ports.V) > 0 {
		c.report("NS1056", t, at(ports.Range, t), t.Name, c.group.Name)
	}
	if t.Hook.V == "prestart" && t.Sidecar.V && !t.Config.may("ready") {
		c.report("NS1057", t, t.Range, t.Name, c.group.Name)
	}
}

// podLogs finds a logs block that is not repeated in the config.
func (c *checker) podLogs(t *task) {
	if t.Logs == nil || t.Config.may("logs") {
		return
	}
	files, size := read(t.Logs, "max_files", toNumber), read(t.Logs, "max_file_size", toNumber)
	off := read(t.Logs, "disabled", toBool)
	if files.Unknown() || size.Unknown() || off.Unknown() || off.V {
		return
	}
	differs := func(v value[int]) bool { return v.V != 0 && v.V != 10 }
	if differs(files) || differs(size) {
		c.report("NS1054", t, t.Logs.Range, t.Name, c.group.Name)
	}
}

// order finds tasks that wait for what never comes.
func (c *checker) order(t *task) {
	if c.group.Partial || t.Hook.Unknown() || t.Sidecar.Unknown() || len(c.group.Tasks) > maxName {
		return
	}
	s, _ := t.Config.get("after")
	never := func(why, name string) {
		c.report("NS1053", t, at(s.Range, t), t.Name, c.group.Name, fmt.Sprintf(why, name))
	}
	seen := map[*task]bool{} // shared by all names: these tasks do not wait for t
	for _, name := range t.After {
		o := c.group.byName[name]
		switch {
		case o == nil:
			never("its after names %q, and the group has no such task", name)
		case !o.isPod() || o.Hook.Unknown() || o.Sidecar.Unknown():
		case stage(o) > stage(t):
			never("its after names %q, which Nomad starts only when this task is ready", name)
		case c.waits(o, t, seen):
			never("it and %q wait for each other", name)
			return
		}
	}
}

// stage orders the lifecycle hooks; a task waits for all earlier stages.
func stage(t *task) int {
	return slices.Index([]string{"prestart", "", "poststart", "poststop"}, t.Hook.V)
}

// waits reports whether a task waits for another one, over any number of others.
func (c *checker) waits(t, other *task, seen map[*task]bool) bool {
	if t == nil || t == other || seen[t] {
		return t == other
	}
	seen[t] = true
	return slices.ContainsFunc(t.After, func(name string) bool { return c.waits(c.group.byName[name], other, seen) })
}
