package analyze

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

// files checks images, and files that templates and artifacts write.
func (c *checker) files() {
	for _, t := range c.group.Tasks {
		if t.isProxy() {
			continue
		}
		c.secrets(t)
		if !t.in("docker", "podman", "pod") {
			continue
		}
		if image := t.Config.text("image"); image.Known && isMoving(image.V) && !t.Config.may("load") {
			c.report("NS1030", t, image.Range, t.Name, c.group.Name, image.V)
		}
		c.sources(t)
		mounts := newMounted(t.Config)
		for _, f := range t.Files {
			c.outside(t, f, mounts)
		}
	}
}

// imageID is the ID of an image that a node has, which docker accepts as well.
var imageID = regexp.MustCompile(`^[0-9a-f]{64}$`)

// isMoving reports whether an image reference has no tag other than latest, and no digest. Images
// from files have none.
func isMoving(image string) bool {
	image = strings.TrimPrefix(strings.TrimPrefix(image, "https://"), "docker://")
	name := image[strings.LastIndex(image, "/")+1:]
	if image == "" || strings.Contains(image, "@") || isPath(image) {
		return false
	}
	if imageID.MatchString(image) {
		return false
	}
	_, tag, tagged := strings.Cut(name, ":")
	return !tagged || tag == "latest"
}

// isPath reports whether an image is a file, by its transport or as a path.
func isPath(image string) bool {
	transport, _, _ := strings.Cut(image, ":")
	return slices.Contains([]string{"oci", "oci-archive", "docker-archive", "dir", "docker-daemon", "containers-storage"}, transport) ||
		strings.HasPrefix(image, "/") || strings.HasPrefix(image, ".")
}

// pathVariables are the variables of a task's directories, with their values in a container and
// their places in the directory of the task on the client.
func pathVariables() map[string]string {
	return map[string]string{"${NOMAD_TASK_DIR}": "local", "${NOMAD_SECRETS_DIR}": "secrets", "${NOMAD_ALLOC_DIR}": "alloc"}
}

// sources finds volumes with a path inside the container as their source.
func (c *checker) sources(t *task) {
	s, ok := t.Config.get("volumes")
	if !ok || t.isPod() {
		return
	}
	for _, text := range stringsIn(s.Value, s.Range) {
		for variable := range pathVariables() {
			if source, _, mounted := strings.Cut(text.value, ":"); mounted && strings.HasPrefix(source, variable) {
				c.report("NS1032", t, s.Range, text.value, t.Name, c.group.Name, variable)
			}
		}
	}
}

// outside finds a file that the task's container does not have.
func (c *checker) outside(t *task, f file, mounts mounted) {
	to := f.Destination.V
	if !f.Destination.Known || to == "" || f.Env.V || f.Env.Unknown() {
		return
	}
	for variable, dir := range pathVariables() {
		if rest, ok := strings.CutPrefix(to, variable); ok {
			to = dir + "/" + rest
		}
	}
	if strings.Contains(to, "${") {
		return
	}
	to = strings.TrimPrefix(path.Clean("/"+to), "/")
	top, _, _ := strings.Cut(to, "/")
	escapes := strings.HasPrefix(path.Clean(f.Destination.V), "..")
	if slices.Contains([]string{"local", "secrets", "alloc"}, top) || escapes || mounts.has(to) {
		return
	}
	c.report("NS1031", t, f.Range, f.Block, t.Name, c.group.Name, f.Destination.V)
}

// mounted are the paths of the task's directory that its config mounts.
type mounted struct {
	sources map[string]bool
	any     bool // it may mount others
}

func newMounted(cfg *config) mounted {
	m := mounted{sources: map[string]bool{}, any: cfg.partial()}
	if s, ok := cfg.get("volumes"); ok {
		m.any = m.any || s.Unknown != nil || !s.Value.IsWhollyKnown()
		for _, text := range stringsIn(s.Value, s.Range) {
			source, _, _ := strings.Cut(text.value, ":")
			m.add(source)
		}
	}
	for _, name := range []string{"mount", "mounts"} {
		all, known := cfg.blocks(name)
		m.any = m.any || !known
		for _, b := range all {
			s := read(b, "source", toRaw)
			m.any = m.any || s.Unknown()
			if s.Known {
				m.add(s.V)
			}
		}
	}
	return m
}

func (m *mounted) add(source string) {
	m.any = m.any || strings.Contains(source, "${")
	m.sources[strings.TrimPrefix(path.Clean("/"+source), "/")] = true
}

// has reports whether a file is mounted, by its own path or with a folder above it.
func (m mounted) has(file string) bool {
	if m.any || m.sources[""] || m.sources[file] || len(file) > maxName {
		return true
	}
	for i, r := range file {
		if r == '/' && m.sources[file[:i]] {
			return true
		}
	}
	return false
}

// secretCall is a call of Vault's function in a template, {{ with secret "…" }} for example.
var secretCall = regexp.MustCompile(`\{\{-?\s*(?:(?:with|range|if)\s+)?(?:\$\w+\s*:=\s*)?secrets?\s+"`)

// secrets finds templates that need a token of Vault.
func (c *checker) secrets(t *task) {
	if t.Vault || t.Driver.Unknown() {
		return
	}
	for _, f := range t.Files {
		if f.Block == "template" && f.Data.Known && !f.Delimiter.Set && secretCall.MatchString(f.Data.V) {
			c.report("NS1033", t, f.Range, t.Name, c.group.Name)
		}
	}
}

// textsOf returns the strings of a key of the config.
func (c *config) textsOf(name string) []string {
	s, ok := c.get(name)
	if !ok {
		return nil
	}
	var out []string
	for _, t := range stringsIn(s.Value, s.Range) {
		out = append(out, t.value)
	}
	return out
}
