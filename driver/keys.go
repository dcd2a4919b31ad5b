package driver

import (
	"github.com/hashicorp/nomad/plugins/shared/hclspec"
)

// key is one key of a config block. What Nomad checks and what README.md says
// of it both come from here.
type key struct {
	name string
	// kind is "string", "number", "bool", "list(string)", "map(string)",
	// "block", "blocks" for one that may be there several times, or "named
	// blocks" for one with a label.
	kind     string
	keys     []key // of a block
	required bool
	value    string // what Nomad fills in, as HCL
	absent   string // what Nomad fills in for a block that is left out, as HCL
	unset    string // what counts without value; in words
	meaning  string
	// docker and podman are the names that their drivers have for it: empty
	// is the same name, none is no such key.
	docker, podman string
	// alias means that the block has the keys of another one, which are documented there.
	alias bool
}

// none says that a driver has no such key.
const none = "–"

// specOf tells Nomad what a block may have.
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
		// An attribute as well as a block, as with Nomad's own drivers;
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
