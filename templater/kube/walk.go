package kube

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// ours reports whether a struct type has entries in the table. Others, such as quantities, are
// values.
func ours(t reflect.Type) bool {
	return t.Kind() == reflect.Struct &&
		(strings.HasPrefix(t.PkgPath(), "k8s.io/api/") || t.Name() == "ObjectMeta" || t.Name() == "TypeMeta")
}

// fieldName returns the JSON name of a struct's field, "" if its fields are inlined.
func fieldName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

// walk reports the set fields of a value that are not translated.
func (im *importer) walk(v reflect.Value, of *object, path string) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			im.walk(v.Elem(), of, path)
		}
	case reflect.Slice:
		for i := range v.Len() {
			im.walk(v.Index(i), of, fmt.Sprintf("%s[%d]", path, i))
		}
	case reflect.Struct:
		if ours(v.Type()) {
			im.walkFields(v, of, path)
		}
	}
}

func (im *importer) walkFields(v reflect.Value, of *object, path string) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name := fieldName(f)
		if name == "" { // inlined
			im.walk(v.Field(i), of, path)
			continue
		}
		if v.Field(i).IsZero() {
			continue
		}
		at := below(path, name)
		entry, known := im.fields[v.Type().Name()+"."+name]
		switch {
		case !known:
			im.find(of, at, NoEquivalent, "this program does not know the field")
		case entry.Fate == Translated:
			im.walk(v.Field(i), of, at)
		case entry.Fate == NoEquivalent || entry.Fate == Decision:
			if !slices.Contains(entry.Harmless, text(v.Field(i))) && !(name == "annotations" && harmlessAnnotations(v.Field(i))) {
				im.find(of, at, entry.Fate, "%s", entry.Text)
			}
		}
	}
}

func below(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// text returns a value as a manifest has it.
func text(v reflect.Value) string {
	for v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	return fmt.Sprint(v.Interface())
}

// harmlessAnnotations reports whether kubectl or a controller wrote all annotations.
func harmlessAnnotations(v reflect.Value) bool {
	for _, key := range v.MapKeys() {
		switch key.String() {
		case "kubectl.kubernetes.io/last-applied-configuration", "deployment.kubernetes.io/revision",
			"deprecated.daemonset.template.generation", "kubectl.kubernetes.io/restartedAt":
		default:
			return false
		}
	}
	return true
}
