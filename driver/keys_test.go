package driver

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/nomad/helper/pluginutils/hclspecutils"
	"github.com/hashicorp/nomad/helper/pluginutils/hclutils"
	"github.com/hashicorp/nomad/plugins/shared/hclspec"
	"github.com/shoenig/test/must"
)

var update = flag.Bool("update", false, "update the tables of README.md")

// TestReadmeTables checks that the tables in README.md match the keys in the code.
func TestReadmeTables(t *testing.T) {
	b, err := os.ReadFile("README.md")
	must.NoError(t, err)
	want := string(b)
	for name, table := range map[string]string{
		"task": table(t, taskKeys(), true), "plugin": table(t, pluginKeys(), false), "compat": compatTable(),
	} {
		begin, end := "<!-- "+name+" keys -->\n", "<!-- end of "+name+" keys -->"
		before, rest, ok := strings.Cut(want, begin)
		must.True(t, ok, must.Sprintf("README.md has no %q", begin))
		_, after, ok := strings.Cut(rest, end)
		must.True(t, ok, must.Sprintf("README.md has no %q", end))
		want = before + begin + table + end + after
	}
	if *update {
		must.NoError(t, os.WriteFile("README.md", []byte(want), 0o644))
		return
	}
	must.Eq(t, want, string(b), must.Sprint("update the tables: go test ./driver -run TestReadmeTables -update"))
}

func compatTable() string {
	var b strings.Builder
	b.WriteString("| docker's or podman's key | accepted and ignored | instead |\n|---|---|---|\n")
	for _, k := range compatKeys() {
		advice := strings.Trim(k.instead+"; "+k.because, "; ")
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", k.name, cmp.Or(k.accepted, none), cmp.Or(advice, none))
	}
	return b.String()
}

// table returns a table of keys. With peers, it contains the names of the keys in other drivers.
func table(t *testing.T, keys []key, peers bool) string {
	var b strings.Builder
	head := []string{"key", "type", "default", "meaning"}
	if peers {
		head = append(head, "docker", "podman")
	}
	fmt.Fprintf(&b, "| %s |\n|%s\n", strings.Join(head, " | "), strings.Repeat("---|", len(head)))
	rows(t, &b, keys, "", peers)
	return b.String()
}

func rows(t *testing.T, b *strings.Builder, keys []key, block string, peers bool) {
	t.Helper()
	for _, k := range keys {
		name := block + k.name
		if k.keys != nil && k.meaning == "" {
			k.meaning = "a block"
			if strings.HasSuffix(k.kind, "blocks") {
				k.meaning = "as often as needed"
			}
		}
		unset := k.unset
		switch {
		case k.required:
			unset = "needed"
		case k.value != "":
			unset = "`" + strings.Trim(k.value, `"`) + "`"
		}
		must.StrNotContains(t, unset+k.meaning, "|", must.Sprintf("%s: | in a table cell", name))
		cells := []string{"`" + name + "`", k.kind, unset, k.meaning}
		if peers {
			cells = append(cells, peer(k.docker), peer(k.podman))
		}
		fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
		if k.alias {
			continue
		}
		inner := k.keys
		for i := range inner { // a block that a peer lacks has no peer keys
			inner[i].docker, inner[i].podman = or(inner[i].docker, k.docker), or(inner[i].podman, k.podman)
		}
		rows(t, b, inner, name+".", peers)
	}
}

func peer(name string) string {
	switch name {
	case "":
		return "same"
	case none:
		return none
	}
	return "`" + name + "`"
}

func or(own, block string) string {
	if own == "" && block == none {
		return none
	}
	return own
}

// TestKeys_EachHasField checks that each key of a schema has a field and each field a key.
func TestKeys_EachHasField(t *testing.T) {
	for name, tc := range map[string]struct {
		keys   []key
		config any
	}{"task": {taskKeys(), TaskConfig{}}, "plugin": {pluginKeys(), PluginConfig{}}} {
		t.Run(name, func(t *testing.T) { sameKeys(t, tc.keys, reflect.TypeOf(tc.config)) })
	}
}

func sameKeys(t *testing.T, keys []key, config reflect.Type) {
	t.Helper()
	fields := map[string]reflect.Type{}
	for i := range config.NumField() {
		fields[config.Field(i).Tag.Get("codec")] = config.Field(i).Type
	}
	for _, k := range keys {
		field, ok := fields[k.name]
		must.True(t, ok, must.Sprintf("%s has no field for %q", config, k.name))
		must.True(t, k.meaning != "" || k.keys != nil, must.Sprintf("%q has no meaning", k.name))
		delete(fields, k.name)
		if k.keys == nil {
			continue
		}
		switch field.Kind() {
		case reflect.Slice, reflect.Pointer, reflect.Map:
			field = field.Elem()
		}
		sameKeys(t, k.keys, field)
	}
	must.MapEmpty(t, fields, must.Sprintf("fields of %s without a key", config))
}

// TestKeys_WrongKind checks that a value of the wrong type and an unknown key in a block are
// refused, and that Nomad's error names the key.
func TestKeys_WrongKind(t *testing.T) {
	for name, tc := range map[string]struct {
		keys []key
		spec *hclspec.Spec
	}{"task": {taskKeys(), taskConfigSpec()}, "plugin": {pluginKeys(), pluginConfigSpec()}} {
		t.Run(name, func(t *testing.T) {
			spec, diags := hclspecutils.Convert(tc.spec)
			must.False(t, diags.HasErrors(), must.Sprint(diags))
			otherKinds(t, spec, tc.keys, "config {\n", "}\n")
		})
	}
}

// otherKinds gives each key of a block a value of the wrong type. before and after enclose the
// block.
func otherKinds(t *testing.T, spec hcldec.Spec, keys []key, before, after string) {
	t.Helper()
	other := map[string]string{
		"string": `["a"]`, "number": `"many"`, "bool": `"perhaps"`, "list(string)": `[["a"]]`, "map(string)": `"a"`,
	}
	for _, k := range keys {
		switch k.kind {
		case "block", "blocks", "named blocks":
			label := ""
			if k.kind == "named blocks" {
				label = ` "a"`
			}
			block := before + k.name + label + " {\n"
			otherKinds(t, spec, k.keys, block, "}\n"+after)
			refused(t, spec, block+"no_such_key = 1\n}\n"+after, "no_such_key")
		default:
			refused(t, spec, before+k.name+" = "+other[k.kind]+"\n"+after, k.name)
		}
	}
}

func refused(t *testing.T, spec hcldec.Spec, config, name string) {
	t.Helper()
	_, diags, _ := hclutils.ParseHclInterface(hclutils.HclConfigToInterface(t, config), spec, nil)
	isDiagnostic := func(d *hcl.Diagnostic) bool { return strings.Contains(d.Error(), name) }
	must.True(t, slices.ContainsFunc(diags, isDiagnostic), must.Sprintf("%s: %v", config, diags.Errs()))
}

// anyValue lists the keys that accept every value of their type.
var anyValue = []string{
	"args", "init", "readonly_rootfs", "pre_stop.args", "pod_volume.readonly", "mount.readonly",
	"auth.email", // ignored
	"group_add",  // checked later, against the image's /etc/group
}

func TestKeys_EachHasInvalidValue(t *testing.T) {
	wrong := map[string]bool{}
	for name, tc := range wrongTaskConfigs {
		file, diags := hclsyntax.ParseConfig([]byte(tc.hcl), name, hcl.InitialPos)
		must.False(t, diags.HasErrors(), must.Sprint(diags))
		written(file.Body.(*hclsyntax.Body), "", wrong)
	}
	for _, name := range paths(taskKeys()) {
		must.True(t, wrong[name] || slices.Contains(anyValue, name), must.Sprintf("no test of an invalid value of %s", name))
		must.False(t, wrong[name] && slices.Contains(anyValue, name), must.Sprintf("%s is in anyValue but has invalid values", name))
	}
}

// written adds the keys of a body and its blocks, with the names of the blocks.
func written(body *hclsyntax.Body, in string, all map[string]bool) {
	for name := range body.Attributes {
		all[in+name] = true
	}
	for _, block := range body.Blocks {
		all[in+block.Type] = true
		written(block.Body, in+block.Type+".", all)
	}
}

// paths returns all keys, with the names of their blocks.
func paths(keys []key) (all []string) {
	for _, k := range keys {
		all = append(all, k.name)
		if k.alias {
			continue
		}
		for _, inner := range paths(k.keys) {
			all = append(all, k.name+"."+inner)
		}
	}
	return all
}
