package jobs

import (
	"io/fs"
	"os"
	"path"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/shoenig/test/must"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// definitions parses the embedded catalog: name of the folder → body of the
// sidecar block.
func definitions(t *testing.T) map[string]*hclsyntax.Body {
	t.Helper()
	paths, err := fs.Glob(Sidecars, "sidecars/*/*.sidecar.hcl")
	must.NoError(t, err)
	out := map[string]*hclsyntax.Body{}
	for _, p := range paths {
		src, err := Sidecars.ReadFile(p)
		must.NoError(t, err)
		file, diags := hclsyntax.ParseConfig(src, p, hcl.InitialPos)
		must.False(t, diags.HasErrors(), must.Sprint(diags))
		blocks := file.Body.(*hclsyntax.Body).Blocks
		must.SliceLen(t, 1, blocks, must.Sprint(p))
		name := path.Base(path.Dir(p))
		must.Eq(t, []string{name}, blocks[0].Labels, must.Sprint("the sidecar is named after its folder"))
		must.Eq(t, name+".sidecar.hcl", path.Base(p))
		out[name] = blocks[0].Body
	}
	return out
}

func TestEveryFolderIsEmbedded(t *testing.T) {
	folders, err := os.ReadDir("sidecars")
	must.NoError(t, err)
	embedded := definitions(t)
	must.MapLen(t, len(folders), embedded)
	for _, folder := range folders {
		must.MapContainsKey(t, embedded, folder.Name())
	}
}

// TestReadmeNamesTheWholeInterface keeps a sidecar's README from falling
// behind its definition.
func TestReadmeNamesTheWholeInterface(t *testing.T) {
	for name, body := range definitions(t) {
		text, err := os.ReadFile(path.Join("sidecars", name, "README.md"))
		must.NoError(t, err)
		for _, block := range body.Blocks {
			switch block.Type {
			case "parameter":
				must.StrContains(t, string(text), "| `"+block.Labels[0]+"` |", must.Sprint(name))
			case "api":
				for _, item := range block.Body.Blocks {
					must.StrContains(t, string(text), "`"+item.Labels[0]+"`", must.Sprint(name))
				}
			}
		}
	}
}

// TestPatternsNameEverySidecar: each sidecar is in one row of the table of patterns.
func TestPatternsNameEverySidecar(t *testing.T) {
	text, err := os.ReadFile("README.md")
	must.NoError(t, err)
	_, table, ok := strings.Cut(string(text), "\n### By pattern\n")
	must.True(t, ok)
	table, _, _ = strings.Cut(table, "\n\n`")
	for name := range definitions(t) {
		must.Eq(t, 1, strings.Count(table, "`"+name+"`"), must.Sprint(name))
	}
}

// TestTasksDoNotEndTheApplication: without a restart block of its own a task
// follows the group's, and one that runs out of restarts fails the allocation.
func TestTasksDoNotEndTheApplication(t *testing.T) {
	// Hooks may depend on these parameters.
	ctx := &hcl.EvalContext{Variables: map[string]cty.Value{
		"param": cty.ObjectVal(map[string]cty.Value{"kind": cty.StringVal("redis")}),
	}}
	for name, body := range definitions(t) {
		for _, task := range body.Blocks {
			if task.Type != "task" {
				continue
			}
			settings := map[string]string{}
			for _, block := range task.Body.Blocks {
				for key, attribute := range block.Body.Attributes {
					value, diags := attribute.Expr.Value(ctx)
					if value, err := convert.Convert(value, cty.String); !diags.HasErrors() && err == nil && !value.IsNull() {
						settings[block.Type+"."+key] = value.AsString()
					}
				}
			}
			mode := "delay"
			if settings["lifecycle.sidecar"] == "false" {
				mode = "fail" // it is what the application waits for
			}
			must.Eq(t, mode, settings["restart.mode"], must.Sprint(name))
			must.SliceContains(t, []string{"prestart", "poststart"}, settings["lifecycle.hook"], must.Sprint(name))
		}
	}
}

// TestImagesRunTheCommand: the entrypoint of an image precedes the command of a
// task, so that otelcol would be an argument of otelcol.
func TestImagesRunTheCommand(t *testing.T) {
	entrypointOf := func(t *testing.T, config *hclsyntax.Body, image cty.Value) cty.Value {
		t.Helper()
		attribute := config.Attributes["entrypoint"]
		must.NotNil(t, attribute)
		value, diags := attribute.Expr.Value(&hcl.EvalContext{Variables: map[string]cty.Value{
			"param": cty.ObjectVal(map[string]cty.Value{"image": image}),
		}})
		must.False(t, diags.HasErrors(), must.Sprint(diags))
		return value
	}
	for name, body := range definitions(t) {
		t.Run(name, func(t *testing.T) {
			for _, task := range body.Blocks {
				for _, block := range task.Body.Blocks {
					if block.Type != "config" || block.Body.Attributes["image"] == nil {
						continue
					}
					value := entrypointOf(t, block.Body, cty.StringVal("registry.example.com/x:1"))
					must.Eq(t, 1, value.LengthInt())
					must.Eq(t, "", value.Index(cty.Zero).AsString())
					must.True(t, entrypointOf(t, block.Body, cty.NullVal(cty.String)).IsNull())
				}
			}
		})
	}
}

func TestExamplesUseTheCatalog(t *testing.T) {
	catalog := definitions(t)
	examples, err := fs.Glob(os.DirFS("examples"), "*.nomad.hcl")
	must.NoError(t, err)
	var all []string
	for _, name := range examples {
		src, err := os.ReadFile(path.Join("examples", name))
		must.NoError(t, err)
		file, diags := hclsyntax.ParseConfig(src, name, hcl.InitialPos)
		must.False(t, diags.HasErrors(), must.Sprint(diags))
		var used []string
		for _, job := range file.Body.(*hclsyntax.Body).Blocks {
			for _, group := range job.Body.Blocks {
				for _, block := range group.Body.Blocks {
					if block.Type == "sidecar" {
						used = append(used, block.Labels[0])
						must.MapContainsKey(t, catalog, block.Labels[0])
					}
				}
			}
		}
		all = append(all, used...)
		readme, err := os.ReadFile("README.md")
		must.NoError(t, err)
		must.True(t, strings.Contains(string(readme), "(examples/"+name+")"), must.Sprint(name))
	}
	must.SliceNotEmpty(t, all, must.Sprint("no example shows a sidecar"))
}
