package driver

import (
	"github.com/hashicorp/nomad/plugins/shared/hclspec"
)

// key is one key of a config block. Nomad's schema and the tables in README.md are
// both generated from it.
type key struct {
	name string
	// kind is "string", "number", "bool", "list(string)", "map(string)", "block",
	// "blocks" for a repeatable block, or "named blocks" for a labeled one.
	kind     string
	keys     []key // of a block
	required bool
	value    string // Nomad's default, as HCL
	absent   string // Nomad's default for a missing block, as HCL
	unset    string // the default if value is empty, in words
	meaning  string
	// docker and podman are the names of the key in these drivers: empty for the same
	// name, none for no such key.
	docker, podman string
	// alias means that the block has the keys of another one, which are documented there.
	alias bool
}

// none means that a driver has no such key.
const none = "–"

// specOf returns the schema of a block.
func specOf(keys []key) *hclspec.Spec {
	m := make(map[string]*hclspec.Spec, len(keys))
	for _, k := range keys {
		m[k.name] = k.spec()
	}
	return hclspec.NewObject(m)
}

func (k key) spec() *hclspec.Spec {
	var s *hclspec.Spec
	switch k.kind {
	case "block":
		s = hclspec.NewBlock(k.name, k.required, specOf(k.keys))
		if k.absent != "" {
			s = hclspec.NewDefault(s, hclspec.NewLiteral(k.absent))
		}
	case "named blocks":
		s = hclspec.NewBlockMap(k.name, []string{"name"}, specOf(k.keys))
	case "blocks":
		s = hclspec.NewBlockList(k.name, specOf(k.keys))
	case "block of strings":
		s = hclspec.NewBlockAttrs(k.name, "string", false)
	case "map(string)":
		// Accept an attribute as well as a block, as Nomad's own drivers do;
		// hclutils.MapStrStr reads it.
		s = hclspec.NewAttr(k.name, "list(map(string))", k.required)
	default:
		s = hclspec.NewAttr(k.name, k.kind, k.required)
	}
	if k.value != "" {
		s = hclspec.NewDefault(s, hclspec.NewLiteral(k.value))
	}
	return s
}
