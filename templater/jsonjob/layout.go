package jsonjob

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// set sets a field, replacing the member that Nomad would read.
func (n *node) set(name string, v *node, l layout) {
	if it := n.member(name); it != nil {
		it.value = v
		return
	}
	n.add(name, v, l)
}

// put sets a key of a map. Unlike field names, map keys are case-sensitive.
func (n *node) put(key string, v *node, l layout) {
	for i := len(n.items) - 1; i >= 0; i-- {
		if n.items[i].name == key {
			n.items[i].value = v
			return
		}
	}
	n.add(key, v, l)
}

func (n *node) add(name string, v *node, l layout) {
	key, _ := json.Marshal(name) // a string always marshals
	colon := ":"
	if l.pretty() {
		colon = ": "
	}
	n.append(&item{key: string(key), name: name, colon: colon, value: v}, l)
}

// append adds an item at the end, laid out like the items before it.
func (n *node) append(it *item, l layout) {
	if len(n.items) > 0 {
		it.lead = n.items[len(n.items)-1].lead
	} else if l.pretty() {
		it.lead = l.line(1)
		if len(n.tail) == 0 {
			n.tail = l.line(0)
		}
	}
	n.items = append(n.items, it)
}

// insert inserts an item at an index, laid out like the item that it moves.
func (n *node) insert(at int, it *item, l layout) {
	if at == len(n.items) {
		n.append(it, l)
		return
	}
	it.lead = n.items[at].lead
	n.items = slices.Insert(n.items, at, it)
}

// appendBefore is append, but before the last items if their values are those that
// Nomad itself appends later: a job and its stored form get the same order.
func (n *node) appendBefore(last func(*node) bool, it *item, l layout) {
	i := len(n.items)
	for i > 0 && last(n.items[i-1].value) {
		i--
	}
	n.insert(i, it, l)
}

// remove removes an item. Removing the last one undoes the changes of append to an empty
// container.
func (n *node) remove(i int, l layout) {
	if i == len(n.items)-1 && i > 0 {
		n.items[i-1].trail = ""
	}
	n.items = append(n.items[:i:i], n.items[i+1:]...)
	if len(n.items) == 0 && l.pretty() && n.tail == l.line(0) {
		n.tail = ""
	}
}

// filter removes all items for which keep is false, like remove.
func (n *node) filter(l layout, keep func(*item) bool) {
	count, last := len(n.items), false
	kept := make([]*item, 0, count)
	for i, it := range n.items {
		if keep(it) {
			kept = append(kept, it)
		} else {
			last = i == count-1
		}
	}
	if n.items = kept; len(kept) == count {
		return
	}
	if last && len(kept) > 0 {
		kept[len(kept)-1].trail = ""
	}
	if len(kept) == 0 && l.pretty() && n.tail == l.line(0) {
		n.tail = ""
	}
}

// removeLast removes the last item with a matching value, and reports whether there was one.
func (n *node) removeLast(l layout, match func(*node) bool) bool {
	if n == nil {
		return false
	}
	for i := len(n.items) - 1; i >= 0; i-- {
		if match(n.items[i].value) {
			n.remove(i, l)
			return true
		}
	}
	return false
}

// container returns the array or object in a field, creating it if it is absent or null. A value
// of another kind is an error.
func (n *node) container(name string, kind byte, l layout) (*node, error) {
	v := n.get(name)
	switch {
	case v == nil:
		v = &node{kind: kind, start: -1}
		n.set(name, v, l)
	case v.kind != kind:
		what := "a list"
		if kind == '{' {
			what = "an object"
		}
		return nil, fmt.Errorf("%s is not %s but %s", name, what, v)
	}
	return v, nil
}

// layout is the indentation of a container: prefix for its closing bracket, and one more step
// for its items. Without a step everything is on one line.
type layout struct{ prefix, step string }

func (l layout) pretty() bool { return l.step != "" }

func (l layout) deeper() layout { return layout{l.prefix + l.step, l.step} }

func (l layout) line(depth int) string {
	if depth > 0 {
		return "\n" + l.prefix + l.step
	}
	return "\n" + l.prefix
}

// step returns the indentation of a document, from its outermost object.
func step(root *node) string {
	if len(root.items) == 0 {
		return ""
	}
	lead := root.items[0].lead
	i := strings.LastIndexByte(lead, '\n')
	if i < 0 {
		return ""
	}
	return lead[i+1:]
}

// parseValue returns a node of valid JSON with layout l.
func parseValue(raw []byte, l layout) *node {
	var out bytes.Buffer
	// Both fail on invalid JSON only, and raw comes from json.Marshal.
	if l.pretty() {
		_ = json.Indent(&out, raw, l.prefix, l.step)
	} else {
		_ = json.Compact(&out, raw)
	}
	s := &scanner{src: out.String()}
	n := s.value()
	n.start = -1
	return n
}
