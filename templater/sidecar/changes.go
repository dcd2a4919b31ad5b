package sidecar

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// Changes lists the parts of the definition that differ in meaning from old, one per
// line, such as
//
//	parameter "app_port": added
//	task "proxy".config.image: "nginx:1.27" → "nginx:1.28"
//
// It ignores the same differences as the digest: no changes means equal digests.
func (d *Definition) Changes(old *Definition) []string {
	if d.Digest == old.Digest {
		return nil
	}
	c := &comparison{old: old.file.Bytes, now: d.file.Bytes}
	if d.Name != old.Name {
		c.line("name", "%s → %s", old.Name, d.Name)
	}
	c.bodies("", old.body(), d.body(), true)
	if len(c.lines) == 0 {
		c.line("blocks", "their order changed")
	}
	return c.lines
}

// body returns the body of the sidecar block.
func (d *Definition) body() *hclsyntax.Body {
	return d.file.Body.(*hclsyntax.Body).Blocks[0].Body
}

// comparison compares the sources of two definitions.
type comparison struct {
	old, now []byte
	lines    []string
}

func (c *comparison) line(path, format string, args ...any) {
	c.lines = append(c.lines, path+": "+fmt.Sprintf(format, args...))
}

// bodies compares two bodies; prose has the same meaning as for digestBody.
func (c *comparison) bodies(path string, old, now *hclsyntax.Body, prose bool) {
	for _, name := range slices.Compact(slices.Sorted(slices.Values(append(slices.Sorted(maps.Keys(old.Attributes)), slices.Sorted(maps.Keys(now.Attributes))...)))) {
		if !prose || !informs(name) {
			c.attributes(path+name, old.Attributes[name], now.Attributes[name])
		}
	}
	oldKeys, oldBlocks := keyed(old, prose)
	nowKeys, nowBlocks := keyed(now, prose)
	for _, key := range oldKeys {
		if nowBlocks[key] == nil {
			c.line(path+key, "removed")
		}
	}
	for _, key := range nowKeys {
		if oldBlocks[key] == nil {
			c.line(path+key, "added")
			continue
		}
		c.bodies(path+key+".", oldBlocks[key].Body, nowBlocks[key].Body, prose && isOurs(nowBlocks[key].Type))
	}
}

func (c *comparison) attributes(path string, old, now *hclsyntax.Attribute) {
	switch {
	case old == nil:
		c.line(path, "added, %s", excerpt(c.now, now))
	case now == nil:
		c.line(path, "removed, was %s", excerpt(c.old, old))
	case tokens(c.old, old) != tokens(c.now, now):
		before, after := excerpt(c.old, old), excerpt(c.now, now)
		if before == after { // both too long to be shown
			c.line(path, "changed")
			return
		}
		c.line(path, "%s → %s", before, after)
	}
}

// keyed names the blocks of a body by type and labels, and duplicates by their
// position, in source order. With prose it omits blocks that are documentation.
func keyed(b *hclsyntax.Body, prose bool) (keys []string, blocks map[string]*hclsyntax.Block) {
	blocks = map[string]*hclsyntax.Block{}
	for _, block := range b.Blocks {
		if prose && informs(block.Type) {
			continue
		}
		base := block.Type
		for _, label := range block.Labels {
			base += fmt.Sprintf(" %q", label)
		}
		key := base
		for n := 2; blocks[key] != nil; n++ {
			key = fmt.Sprintf("%s (%d)", base, n)
		}
		keys = append(keys, key)
		blocks[key] = block
	}
	return keys, blocks
}

func tokens(src []byte, a *hclsyntax.Attribute) string {
	var out strings.Builder
	digestExpression(&out, src, a.Expr)
	return out.String()
}

// excerpt returns the source of a value if it is short enough for one line.
func excerpt(src []byte, a *hclsyntax.Attribute) string {
	r := a.Expr.Range()
	text := string(src[r.Start.Byte:r.End.Byte])
	if len(text) > 60 || strings.Contains(text, "\n") {
		return "(long)"
	}
	return text
}
