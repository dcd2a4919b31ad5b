package jsonjob

import (
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"
	"github.com/zclconf/go-cty/cty"
	"pgregory.net/rapid"

	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

func firstTask(g *api.TaskGroup) any { return g.Tasks[0] }

// taskOf is a task with a text in every place where texts are taken out, and in some
// where they are not.
func taskOf(text func(place string) cty.Value) *sidecar.Block {
	attr := func(name string) *sidecar.Attr { return &sidecar.Attr{Name: name, Value: text(name)} }
	return &sidecar.Block{Type: "task", Labels: []string{"t"}, Body: sidecar.Body{
		&sidecar.Attr{Name: "driver", Value: cty.StringVal("pod")}, attr("user"), attr("kill_signal"),
		&sidecar.Block{Type: "env", Body: sidecar.Body{attr("A"), attr("B"), &sidecar.Attr{Name: "N", Value: cty.NumberIntVal(3)}}},
		&sidecar.Attr{Name: "meta", Value: cty.ObjectVal(map[string]cty.Value{"x.y": text("meta"), "z": text("meta")})},
		&sidecar.Block{Type: "config", Body: sidecar.Body{
			attr("command"), &sidecar.Attr{Name: "args", Value: cty.TupleVal([]cty.Value{text("args"), cty.True, text("args")})},
			&sidecar.Attr{Name: "labels", Value: cty.MapVal(map[string]cty.Value{"k": text("labels")})},
			&sidecar.Block{Type: "ready", Body: sidecar.Body{&sidecar.Attr{Name: "exec", Value: cty.ListVal([]cty.Value{text("exec")})}}},
		}},
		&sidecar.Block{Type: "template", Body: sidecar.Body{attr("data"), attr("destination")}},
		&sidecar.Block{Type: "service", Body: sidecar.Body{
			attr("name"), &sidecar.Attr{Name: "provider", Value: cty.StringVal("nomad")},
			&sidecar.Attr{Name: "tags", Value: cty.TupleVal([]cty.Value{text("tags")})},
		}},
	}}
}

// With its texts taken out and put back a task is what Nomad's parser makes of it.
func TestTemplate_FilledIsWhatTheParserMakes(t *testing.T) {
	runes := rapid.SampledFrom([]rune("ab ${}%\"\\\n\r\t<>&[]#-.\u0301\u00e9\u2028\U0001f600"))
	rapid.Check(t, func(t *rapid.T) {
		task := taskOf(func(place string) cty.Value {
			text := rapid.OneOf(rapid.StringOf(runes), rapid.Just(""), rapid.Just("${NOMAD_PORT_http}"), rapid.Just("${attr.x} $${y} %{z")).Draw(t, place)
			if place == "data" {
				text = strings.ReplaceAll(text, "{", "")
			}
			return cty.StringVal(text)
		})
		want, err := fragments{}.make("", hclOf([]*sidecar.Block{task}), layout{}, firstTask)
		must.NoError(t, err)
		got, err := fragments{}.shaped("", "", task, layout{}, firstTask)
		must.NoError(t, err)
		must.Eq(t, string(want.write(nil)), string(got.write(nil)))
	})
}

// Tasks that differ in their texts only have one template; which it is shows in no text.
func TestTemplate_OnePerShape(t *testing.T) {
	templates.Purge()
	for _, text := range []string{"one", "two", token + "0"} {
		task := taskOf(func(place string) cty.Value {
			switch place {
			case "user", "kill_signal", "destination", "tags":
				return cty.StringVal("same")
			}
			return cty.StringVal(text)
		})
		n, err := fragments{}.shaped("", "", task, layout{}, firstTask)
		must.NoError(t, err)
		must.Eq(t, text, n.get("Env").key("A").str())
		must.Eq(t, 1, templates.Len())
	}
	for _, key := range templates.Keys() {
		must.StrNotContains(t, key, "two")
		m, _ := templates.Get(key)
		must.StrNotContains(t, string(m.root.write(nil)), "two")
	}
}

// A shape that Nomad's parser does not carry over is none, and the parser is asked as
// ever.
func TestTemplate_NoneIfTheParserChangesTexts(t *testing.T) {
	for _, raw := range []string{`{}`, `{"a":"` + token + `0","b":"` + token + `0"}`, `{"a":"x` + token + `0"}`, `{"a":"` + token + `0 "}`, `{"` + token + `1":"` + token + `0"}`} {
		must.Nil(t, newTemplate([]byte(raw), 1, layout{}), must.Sprint(raw))
	}
	must.NotNil(t, newTemplate([]byte(`{"a":"`+token+`0"}`), 1, layout{}))
}
