package jsonjob

import (
	"fmt"
	"reflect"
	"strings"
)

// null is a null in a list of objects, such as TaskGroups. Nomad's agent does not expect it: it
// drops the connection.
type null struct {
	path   string
	offset int
}

func (n *null) Error() string {
	return fmt.Sprintf("%s is null, which Nomad cannot read in a list of objects. Remove it, or write the object", strings.TrimPrefix(n.path, "."))
}

// under prepends the name of the container to the path of n.
func (n *null) under(format string, name any) *null {
	n.path = fmt.Sprintf(format, name) + n.path
	return n
}

// findNull finds a null that the decoder would store in a list of pointers.
func findNull(n *node, t reflect.Type) *null {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case n == nil:
	case n.kind == '[' && t.Kind() == reflect.Slice:
		for i, it := range n.items {
			if t.Elem().Kind() == reflect.Pointer && it.value.text == "null" {
				return &null{fmt.Sprintf("[%d]", i), it.value.start}
			}
			if found := findNull(it.value, t.Elem()); found != nil {
				return found.under("[%d]", i)
			}
		}
	case n.kind == '{' && t.Kind() == reflect.Map:
		for _, it := range n.items {
			if found := findNull(it.value, t.Elem()); found != nil {
				return found.under(".%s", it.name)
			}
		}
	case n.kind == '{' && t.Kind() == reflect.Struct:
		of := fieldsOf(t)
		for _, it := range n.items {
			if i := of.index(it.name); i >= 0 {
				if found := findNull(it.value, of.list[i].of); found != nil {
					return found.under(".%s", of.list[i].name)
				}
			}
		}
	}
	return nil
}
