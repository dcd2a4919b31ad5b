package templater_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/shoenig/test/must"
	"github.com/zclconf/go-cty/cty"
	"pgregory.net/rapid"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/hcljob"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// everywhere puts one parameter into every kind of place of a job that takes text.
const everywhere = `sidecar "everywhere" {
  version = "1.0.0"
  parameter "text" {
    type = string
  }
  task "everywhere" {
    driver = "docker"
    user   = param.text
    env {
      TEXT = param.text
    }
    meta = {
      text         = param.text
      (param.text) = "key"
    }
    template {
      destination = "local/whole"
      data        = param.text
    }
    template {
      destination     = "local/part"
      left_delimiter  = "<<<"
      right_delimiter = ">>>"
      data            = <<-EOT
        first
        ${param.text}
        last
      EOT
    }
    service {
      name     = "x"
      provider = "nomad"
      tags     = ["a", param.text]
    }
  }
  app {
    env {
      APP_TEXT = param.text
    }
  }
}
`

// places are where its value ends up.
func places(t must.T, job any, before string) map[string]any {
	group := groupOf(job)
	task, app := find(t, group["Tasks"], "everywhere"), find(t, group["Tasks"], "app")
	templates := task["Templates"].([]any)
	part := templates[1].(map[string]any)["EmbeddedTmpl"].(string)
	meta := task["Meta"].(map[string]any)
	return map[string]any{
		"user": task["User"], "env": task["Env"].(map[string]any)["TEXT"], "meta": meta["text"],
		"whole template": templates[0].(map[string]any)["EmbeddedTmpl"],
		"part":           strings.TrimSuffix(strings.TrimPrefix(part, "first\n"), "\nlast\n"),
		"tags":           task["Services"].([]any)[0].(map[string]any)["Tags"].([]any)[1],
		"app":            app["Env"].(map[string]any)["APP_TEXT"], "app before": app["Env"].(map[string]any)["BEFORE"], "key": meta[before],
	}
}

func catalogOf(t must.T, text string) *sidecar.Catalog {
	c := &sidecar.Catalog{}
	diags := c.Load(fstest.MapFS{"x.sidecar.hcl": {Data: []byte(text)}}, "catalog")
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	return c
}

func withText(name string, v cty.Value) templater.Flags {
	flags := with(name)
	flags.Params = map[string]map[string]sidecar.Argument{name: {"text": {Value: v, Text: v.Type() == cty.String, From: "-param"}}}
	return flags
}

// staysValue injects a text into a job in both forms and finds exactly it, and nothing
// else changed, in what Nomad's own parser reads.
func staysValue(t must.T, c *sidecar.Catalog, text string) {
	const job = "job \"j\" {\n  group \"g\" {\n    task \"app\" {\n      driver = \"docker\"\n      env {\n        BEFORE = \"yes\"\n      }\n    }\n  }\n}\n"
	v := cty.StringVal(text) // in a normal form of Unicode, as all texts of HCL are
	f := parseHCL(t, []byte(job))
	out := inject(t, f, c, withText("everywhere", v))
	raw, diags := f.JSON()
	must.False(t, diags.HasErrors())
	inJSON := inject(t, parseJSON(t, raw, c), c, withText("everywhere", v))
	fromHCL, fromJSON := nomad(t, out), decode(t, inJSON)
	for place, got := range places(t, fromHCL, v.AsString()) {
		want := any(v.AsString())
		switch place {
		case "key":
			want = "key"
			if v.AsString() == "text" {
				continue
			}
		case "app before":
			want = "yes"
		}
		must.Eq(t, want, got, must.Sprintf("%s\n%s", place, out))
	}
	equal(t, fromHCL, fromJSON)
	equal(t, nomad(t, []byte(job)), nomad(t, ejected(t, out)))
	equal(t, decode(t, raw), decode(t, apply(t, parseJSON(t, inJSON, c), nil)))
}

// hostileTexts would be something else than a text if they got out of their quotes.
func hostileTexts() map[string]string {
	return map[string]string{
		"HCL string": "x\"\n}\ntask \"evil\" {\n  driver = \"raw_exec\"\n}\n#", "HCL escape": `\" \\" \u0022 \n`, "HCL comment": "x # y // z /* a\n*/ b",
		"JSON string": `"},"Evil":{"a":["`, "JSON escape": `\u0022\"`, "heredoc": "a\nEOT\nevil = true\nb <<EOT\n", "long heredoc": "a\nb\nc\nEOT\n}\nd\n",
		"own marks": "a\n#sidecar<\n#sidecar>\n#sidecar| x\nb\n", "directive": "%{ for x in [1, 2] }${x}%{ endfor }", "call": `${file("/etc/passwd")}`,
		"escaped": "$${a} %%{b} $$${c} %%%{d} $$$${e}", "half": "$", "half a reference": "${", "reference": "${NOMAD_SECRETS_DIR}/x ${attr.kernel.name} ${meta.x}",
		"reference and brace": "${NOMAD_X}} ${NOMAD_Y }", "template": `{{ env "HOME" }}{{`, "other template": "[[ .x ]] <% y %>", "verbs": "%s %d %[1]q %!",
		"controls": "\x00\x01\x1b[31m\x7f\u0085\u2028\ufeff\u200b\u202e", "line ends": "a\r\nb\rc\n\n", "spaces": "  \t x \u00a0 ", "beyond": "\U0001f600 e\u0301 \U000e0001", "shell": "$(id) `id` ; id | id & 'x' \\", "empty": "", "null": "null", "number": "1e9", "quote": `'`,
	}
}

func TestHostileValuesStayValues(t *testing.T) {
	c := catalogOf(t, everywhere)
	for name, text := range hostileTexts() {
		t.Run(name, func(t *testing.T) { staysValue(t, c, text) })
	}
}

func TestHostileValuesAnyTextRoundTrips(t *testing.T) {
	c := catalogOf(t, everywhere)
	signs := rapid.SampledFrom([]rune("ab${}%{}\"\\\n\r\t []()#/*<>EOT'`;|&{{}}\x00\u0301\u00e9\U0001f600\u200b\ufeff"))
	texts := rapid.OneOf(rapid.StringOf(signs), rapid.String())
	rapid.Check(t, func(t *rapid.T) {
		text := texts.Draw(t, "text")
		if strings.Contains(text, "<<<") {
			t.Skip("refused: see TestHostileValuesInTemplates")
		}
		staysValue(t, c, text)
	})
}

// What is no text at all is refused where it is given.
func TestHostileValuesThatAreNoText(t *testing.T) {
	c := catalogOf(t, everywhere)
	f := parseHCL(t, []byte("job \"j\" {\n  group \"g\" {\n    task \"app\" {\n      driver = \"docker\"\n    }\n  }\n}\n"))
	for text, says := range map[string]string{"a\xffb": "not UTF-8", "\xed\xa0\x80": "not UTF-8"} {
		_, diags := templater.Choose(f.Job(), c, withText("everywhere", cty.StringVal(text)))
		must.Len(t, 1, diags.Errs())
		must.Eq(t, "Wrong type of parameter", diags[0].Summary)
		must.StrContains(t, diags[0].Detail, says)
	}
	_, diags := templater.Choose(f.Job(), c, withText("everywhere", cty.MustParseNumberVal("1e999999999")))
	must.Len(t, 1, diags.Errs())
	must.StrContains(t, diags[0].Detail, "too large")
}

// interpreting has one parameter that goes where PLACE stands.
func interpreting(place string) string {
	return "sidecar \"x\" {\n  version = \"1.0.0\"\n  parameter \"text\" {\n    type = any\n    default = \"fine\"\n  }\n" +
		"  parameter \"other\" {\n    default = \"o\"\n  }\n" + place + "\n}\n"
}

// planned injects one value and gives the errors.
func planned(t must.T, definition string, v cty.Value) (string, int) {
	c := catalogOf(t, definition)
	f := parseHCL(t, []byte("job \"j\" {\n  group \"g\" {\n    meta = { \"given\" = \"$${lower(\\\"x\\\")}\" }\n    task \"app\" {\n      driver = \"pod\"\n    }\n  }\n}\n"))
	choices, diags := templater.Choose(f.Job(), c, withText("x", v))
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	_, diags = templater.Plan(f.Job(), choices)
	if !diags.HasErrors() {
		return "", 0
	}
	must.Len(t, 1, diags.Errs(), must.Sprint(diags))
	must.Eq(t, "Value would be interpreted", diags[0].Summary)
	must.Eq(t, "catalog/x.sidecar.hcl", diags[0].Subject.Filename)
	return diags[0].Detail, diags[0].Subject.Start.Line
}

func task(body string) string { return "  task \"x\" {\n    driver = \"pod\"\n" + body + "\n  }" }

// On the client the strings of a driver's config are templates once more.
func TestHostileValuesInADriversConfig(t *testing.T) {
	for name, place := range map[string]string{
		"args": task("config {\n args = [\"-x\", param.text]\n }"), "in a text": task("config {\n command = \"/bin/${param.text}$${NOMAD_X}\"\n }"),
		"nested": task("config {\n mount {\n a = { b = [\"-${param.other}-${param.text}\"] }\n }\n }"), "by a local": "locals {\n l = [param.text]\n }\n" + task("config {\n args = concat(local.l, [\"x\"])\n }"),
		"dynamic": task("config {\n dynamic \"mount\" {\n for_each = [param.text]\n content {\n a = mount.value\n }\n }\n }"), "a key": task("config {\n labels = { (param.text) = \"x\" }\n }"),
		"app": task("") + "\n app {\n config {\n labels = { a = param.text }\n }\n }", "beside its own": task("config {\n args = [\"$${upper(NOMAD_X)} ${param.text}\"]\n }"),
	} {
		for _, text := range []string{
			`${upper("x")}`, "%{ if true }x%{ endif }", "${[for a in range(1000) : range(1000)]}", "${", "a ${b", "${1}", `${"${NOMAD_X}"}`, "${x[y]}", "${a ? b : c}", "%{ x",
		} {
			detail, line := planned(t, interpreting(place), cty.StringVal(text))
			must.StrContains(t, detail, `Parameter "text" of sidecar "x" is used in `, must.Sprintf("%s: %s", name, text))
			must.StrContains(t, detail, "In the value write $${ and %%{")
			must.Greater(t, 8, line)
		}
		for _, text := range []string{"$${upper(x)} %%{x}", "$$${lower(x)}", "${NOMAD_PORT_http}/${attr.kernel.name}", `${env["HOME"]}`, "{{ x }} $( ) `x` %s $ % {}", ""} {
			detail, _ := planned(t, interpreting(place), cty.StringVal(text))
			must.Eq(t, "", detail, must.Sprintf("%s: %s", name, text))
		}
	}
	// A definition's own are meant so, whatever else is in the value.
	detail, _ := planned(t, interpreting(task("config {\n args = [\"$${upper(NOMAD_X)} ${param.text}\"]\n }")), cty.StringVal("5 $ {}"))
	must.Eq(t, "", detail)
	// So do values of the job that no parameter holds, and texts put together of two.
	detail, _ = planned(t, interpreting(task("config {\n args = [group.meta[\"given\"]]\n }")), cty.StringVal("fine"))
	must.StrContains(t, detail, `A value of the job for sidecar "x"`)
	detail, _ = planned(t, interpreting(task("config {\n args = [\"${param.text}{upper(x)}\"]\n }")), cty.StringVal("$"))
	must.StrContains(t, detail, `Parameter "text"`)
}

func TestHostileValuesInTemplates(t *testing.T) {
	block := func(data string) string {
		return "template {\n destination = \"local/x\"\n " + data + "\n }"
	}
	for _, place := range []string{
		task(block("data = \"listen ${param.text};\"")), "locals {\n l = \"x ${param.text}\"\n }\n" + task(block("data = local.l")),
		task(block("data = \"{{ range x }}${param.text}{{ end }} ${param.other}\"")), task("") + "\napp {\n " + block("data = \"x${param.text}\"") + "\n}",
		task("dynamic \"template\" {\n for_each = [param.text]\n content {\n destination = \"local/x\"\n data = \"x ${template.value}\"\n }\n }"),
	} {
		detail, line := planned(t, interpreting(place), cty.StringVal(`{{ env "SECRET" }}`))
		must.StrContains(t, detail, `Parameter "text" of sidecar "x" is used in data, in a template of Nomad`, must.Sprint(place))
		must.StrContains(t, detail, "Leave {{ out of the value")
		must.Greater(t, 8, line)
		for _, text := range []string{`{"a": {"b": 1}}`, "${x} %{y}", "}}", "a { b"} {
			detail, _ = planned(t, interpreting(place), cty.StringVal(text))
			must.Eq(t, "", detail)
		}
	}
	put := task(block("data = \"{${param.text}\""))
	detail, _ := planned(t, interpreting(put), cty.StringVal("{ x }}"))
	must.StrContains(t, detail, `Parameter "text"`)
	other := task(block("left_delimiter = \"<<\"\n data = \"x ${param.text}\""))
	detail, _ = planned(t, interpreting(other), cty.StringVal("{{ x }}"))
	must.Eq(t, "", detail)
	detail, _ = planned(t, interpreting(other), cty.StringVal("<< x >>"))
	must.StrContains(t, detail, "Leave << out")
	// A parameter that is all of the data is a template: that is what the definition says.
	detail, _ = planned(t, interpreting(task(block("data = param.text"))), cty.StringVal("{{ x }}"))
	must.Eq(t, "", detail)
}

func ejected(t must.T, src []byte) []byte {
	out, diags := hcljob.Eject(src, "job.hcl")
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	return out
}
