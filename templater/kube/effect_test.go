package kube_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
	"go.yaml.in/yaml/v3"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/nomad-sidecar/nomad-sidecar/templater/kube"
)

// withoutEffect are translated fields that need not change a job.
func withoutEffect() map[string]string {
	return map[string]string{
		"PodSpec.os":                      "only one value is allowed",
		"ServicePort.protocol":            "Nomad forwards TCP and UDP",
		"PodSecurityContext.runAsNonRoot": "it only matters without runAsUser",
	}
}

// Each translated field has an effect: without it, some manifest of the corpus gives another job,
// another finding or an error.
func TestFields_HaveEffect(t *testing.T) {
	effect, fields := map[string]bool{}, kube.Fields()
	files, err := filepath.Glob("testdata/*.yaml")
	must.NoError(t, err)
	for _, path := range files {
		text, err := os.ReadFile(path)
		must.NoError(t, err)
		docs := documents(t, text)
		whole := outcome(docs)
		for _, doc := range docs {
			deleteEach(doc, func(key string) {
				if !effect[key] && fields[key].Fate == kube.Translated {
					effect[key] = outcome(docs) != whole
				}
			})
		}
	}
	excused := withoutEffect()
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		switch translated := fields[key].Fate == kube.Translated; {
		case translated && !effect[key] && excused[key] == "":
			t.Errorf("%s is translated, but no manifest of the corpus changes without it", key)
		case excused[key] != "" && (effect[key] || !translated):
			t.Errorf("%s needs no excuse", key)
		}
	}
}

func documents(t *testing.T, text []byte) []map[string]any {
	t.Helper()
	var out []map[string]any
	d := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var doc map[string]any
		err := d.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return out
		}
		must.NoError(t, err)
		if doc != nil {
			out = append(out, doc)
		}
	}
}

// outcome is all that an import gives, without positions.
func outcome(docs []map[string]any) string {
	var text bytes.Buffer
	for _, d := range docs {
		raw, err := yaml.Marshal(d)
		if err != nil {
			return err.Error()
		}
		text.WriteString("---\n")
		text.Write(raw)
	}
	result, diags := kube.Import([]kube.Source{{Name: "m.yaml", Bytes: text.Bytes()}}, kube.Options{})
	if diags.HasErrors() {
		return diags.Error()
	}
	var out strings.Builder
	for _, j := range result.Jobs {
		fmt.Fprintf(&out, "%s\n%v\n", j.Text, j.Secrets)
	}
	for _, f := range result.Findings {
		fmt.Fprintln(&out, f.Fate, f.Document, f.Path, f.Text)
	}
	return out.String()
}

// deleteEach calls try without one field after the other, with the field's key in the table.
func deleteEach(doc map[string]any, try func(key string)) {
	if items, ok := doc["items"].([]any); ok {
		for _, item := range items {
			deleteEach(item.(map[string]any), try)
		}
		return
	}
	if root := types()[fmt.Sprint(doc["kind"])]; root != nil {
		deleteFields(doc, root, try)
	}
}

func types() map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for _, v := range []any{
		corev1.Pod{}, appsv1.Deployment{}, appsv1.StatefulSet{}, appsv1.DaemonSet{}, batchv1.Job{}, batchv1.CronJob{},
		corev1.Service{}, corev1.ConfigMap{}, corev1.Secret{}, corev1.PersistentVolumeClaim{},
	} {
		out[reflect.TypeOf(v).Name()] = reflect.TypeOf(v)
	}
	return out
}

func deleteFields(m map[string]any, t reflect.Type, try func(string)) {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		of, f, ok := fieldOf(t, name)
		if !ok {
			continue
		}
		v := m[name]
		delete(m, name)
		try(of + "." + name)
		m[name] = v
		ft := f.Type
		for ft.Kind() == reflect.Pointer || ft.Kind() == reflect.Slice {
			ft = ft.Elem()
		}
		switch v := v.(type) {
		case map[string]any:
			if ft.Kind() == reflect.Struct {
				deleteFields(v, ft, try)
			}
		case []any:
			for _, item := range v {
				if item, ok := item.(map[string]any); ok && ft.Kind() == reflect.Struct {
					deleteFields(item, ft, try)
				}
			}
		}
	}
}

// fieldOf returns a field by its JSON name, and the name of the type that declares it.
func fieldOf(t reflect.Type, name string) (string, reflect.StructField, bool) {
	for i := range t.NumField() {
		f := t.Field(i)
		tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if tag == name {
			return t.Name(), f, true
		}
		if tag == "" && f.Type.Kind() == reflect.Struct {
			if of, found, ok := fieldOf(f.Type, name); ok {
				return of, found, true
			}
		}
	}
	return "", reflect.StructField{}, false
}
