package analyze

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
)

// defaultMemory is Nomad's default in MB (api.DefaultResources).
const defaultMemory = 300

// memory checks the memory of the group's tasks.
func (c *checker) memory() {
	c.total()
	for _, t := range c.group.Tasks {
		reserved, known := t.reserved()
		switch {
		case !known || t.Max.V <= 0:
		case t.Max.V < reserved:
			c.report("NS1041", t, t.Max.Range, t.Name, c.group.Name, t.Max.V, reserved)
		case t.Max.V > reserved:
			c.report("NS1042", t, t.Max.Range, t.Name, c.group.Name, t.Max.V)
		}
		if limit, known := t.limit(); known {
			c.heap(t, limit)
			c.memoryFiles(t, limit)
		}
	}
}

// reserved returns the memory that Nomad reserves for a task.
func (t *task) reserved() (mb int, known bool) {
	if t.Memory.V == 0 && !t.Memory.Unknown() {
		return defaultMemory, true
	}
	return t.Memory.V, t.Memory.Known
}

// limit returns the most memory in MB that a task can have. known is false for drivers that may not
// enforce it.
func (t *task) limit() (mb int, known bool) {
	reserved, known := t.reserved()
	if !known || t.Max.Unknown() || t.Max.V < 0 || !t.in("docker", "podman", "pod", "exec", "java") || t.Config.may("memory_hard_limit") {
		return 0, false
	}
	return max(reserved, t.Max.V), true
}

// total compares the memory of an allocation with the limit. Nomad adds it up in the same way
// (structs.AllocatedResources): tasks that do not run at the same time count once.
func (c *checker) total() {
	limit := c.settings.MemoryMB
	if limit <= 0 || c.group.Partial {
		return
	}
	var beside, before, after int
	var parts []string
	for _, t := range c.group.Tasks {
		mb, known := t.reserved()
		if !known || t.Hook.Unknown() || t.Sidecar.Unknown() {
			return
		}
		switch {
		case t.Hook.V == "prestart" && t.Sidecar.V:
			beside, before = beside+mb, before+mb
		case t.Hook.V == "prestart":
			before += mb
		case t.Hook.V == "poststop":
			after += mb
		default:
			beside += mb
		}
		parts = append(parts, fmt.Sprintf("%s %d", t.Name, mb))
	}
	if sum := max(beside, before, after); sum > limit {
		c.report("NS1040", nil, c.group.Node.Range, c.group.Name, sum, limit, strings.Join(parts, ", "))
	}
}

// maxHeap is Java's option, with its unit; without one it is in bytes.
var maxHeap = regexp.MustCompile(`(?:^|[\s"'=])(-Xmx([0-9]{1,12})([kKmMgG]?))(?:$|[\s"',])`)

// heap compares -Xmx with the limit.
func (c *checker) heap(t *task, limitMB int) {
	var texts []string
	for _, name := range []string{"jvm_options", "args", "command", "entrypoint"} {
		texts = append(texts, t.Config.textsOf(name)...)
	}
	if env := t.Node.First("env"); env != nil {
		for _, name := range slices.Sorted(maps.Keys(env.Attrs)) {
			upper := strings.ToUpper(name)
			if strings.Contains(upper, "JAVA") || strings.Contains(upper, "JVM") {
				texts = append(texts, read(env, name, toRaw).V)
			}
		}
	}
	for _, text := range texts {
		for _, m := range maxHeap.FindAllStringSubmatch(text, -1) {
			n, err := strconv.Atoi(m[2])
			if err != nil {
				continue
			}
			shift := map[string]int{"": 20, "k": 10, "m": 0, "g": -10}[strings.ToLower(m[3])]
			if mb := scaled(n, shift); mb > limitMB {
				c.report("NS1043", t, t.Range, t.Name, c.group.Name, mb, m[1], limitMB)
				return
			}
		}
	}
}

// scaled divides by a power of two, or multiplies for a negative one, without overflow.
func scaled(n, shift int) int {
	if shift >= 0 {
		return n >> shift
	}
	return min(n, 1<<40) << -shift
}

// memoryFiles compares file systems in memory with the limit.
func (c *checker) memoryFiles(t *task, limitMB int) {
	if !t.in("docker", "podman", "pod") {
		return
	}
	check := func(what, size string, at hcl.Range) {
		if mb, ok := sizeMB(size); ok && mb > limitMB {
			c.report("NS1044", t, at, what, t.Name, c.group.Name, mb, limitMB)
		}
	}
	if s := t.Config.text("shm_size"); s.Known {
		check("/dev/shm", s.V, s.Range)
	}
	if s, ok := t.Config.get("tmpfs"); ok {
		for _, text := range stringsIn(s.Value, s.Range) {
			target, options, _ := strings.Cut(text.value, ":")
			for option := range strings.SplitSeq(options, ",") {
				if size, ok := strings.CutPrefix(option, "size="); ok {
					check("The tmpfs "+target, size, s.Range)
				}
			}
		}
	}
	for _, name := range []string{"mount", "mounts"} {
		all, _ := t.Config.blocks(name)
		for _, m := range all {
			c.tmpfsMount(m, check)
		}
	}
}

func (*checker) tmpfsMount(m *job.Node, check func(what, size string, at hcl.Range)) {
	if read(m, "type", toText).V != "tmpfs" {
		return
	}
	options := (&config{m}).block("tmpfs_options")
	if options == nil {
		return
	}
	if size := setting(options, "size", toText); size.Known {
		check("The tmpfs "+read(m, "target", toText).V, size.V, m.Range)
	}
}

// sizeMB reads a size: bytes, or a number with a unit as docker has them.
func sizeMB(text string) (mb int, ok bool) {
	text = strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(strings.TrimSpace(text)), "b"), "i")
	number := strings.TrimRight(text, "kmg")
	shift, known := map[string]int{"": 20, "k": 10, "m": 0, "g": -10}[text[len(number):]]
	n, err := strconv.Atoi(strings.TrimSpace(number))
	if err != nil || n < 0 || !known {
		return 0, false
	}
	return scaled(n, shift), true
}
