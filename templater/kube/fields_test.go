package kube_test

import (
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/nomad-sidecar/nomad-sidecar/templater/kube"
)

// reached returns the fields that a manifest can have, as far as they are translated.
func reached(fields map[string]kube.Field) map[string]bool {
	out := map[string]bool{}
	var walk func(reflect.Type)
	walk = func(t reflect.Type) {
		for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
			t = t.Elem()
		}
		named := t.Name() == "ObjectMeta" || t.Name() == "TypeMeta"
		if t.Kind() != reflect.Struct || !named && !strings.HasPrefix(t.PkgPath(), "k8s.io/api/") {
			return
		}
		for i := range t.NumField() {
			f := t.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "" {
				walk(f.Type)
				continue
			}
			key := t.Name() + "." + name
			if out[key] {
				continue
			}
			out[key] = true
			if fields[key].Fate == kube.Translated {
				walk(f.Type)
			}
		}
	}
	for _, root := range []any{
		corev1.Pod{}, appsv1.Deployment{}, appsv1.StatefulSet{}, appsv1.DaemonSet{}, batchv1.Job{}, batchv1.CronJob{},
		corev1.Service{}, corev1.ConfigMap{}, corev1.Secret{}, corev1.PersistentVolumeClaim{},
	} {
		walk(reflect.TypeOf(root))
	}
	return out
}

// Every field of the API's types, those of PodSpec and Container among them, has an entry, and
// every entry a field.
func TestFields_CoverAPI(t *testing.T) {
	fields := kube.Fields()
	api := reached(fields)
	must.Greater(t, 250, len(api))
	for _, key := range slices.Sorted(maps.Keys(api)) {
		f, ok := fields[key]
		if !ok {
			t.Errorf("the table has no entry for %s", key)
		} else if f.Text == "" {
			t.Errorf("the entry of %s has no text", key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		if !api[key] {
			t.Errorf("the table has an entry for %s, which the API does not have, or not below a translated field", key)
		}
	}
}

// The documentation lists the table.
func TestFields_Documented(t *testing.T) {
	const page, start, end = "../../docs/kubernetes-fields.md", "<!-- fields -->\n", "<!-- end of fields -->\n"
	text, err := os.ReadFile(page)
	must.NoError(t, err)
	before, rest, found := strings.Cut(string(text), start)
	must.True(t, found)
	table, after, found := strings.Cut(rest, end)
	must.True(t, found)
	if *update {
		must.NoError(t, os.WriteFile(page, []byte(before+start+kube.FieldTable()+end+after), 0o644))
		return
	}
	must.Eq(t, kube.FieldTable(), table, must.Sprint("go test ./templater/kube -run Documented -update writes it"))
}
