package render_test

import (
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/sidecars/config-reloader/render"
)

func text(t *testing.T, template, values string) (string, error) {
	t.Helper()
	data, err := render.NewData([]string{"NOMAD_TASK_NAME=app", "EMPTY=", "A=b=c"}, []byte(values))
	must.NoError(t, err)
	out, err := render.Text([]byte(template), data)
	return string(out), err
}

func TestText(t *testing.T) {
	const values = `{"port": 8080, "big": 12345678901234567890, "hosts": ["a", "b"], "deep": {"name": "x \"y\" <z>"}, "on": true}`
	for template, want := range map[string]string{
		"listen {{ .Values.port }};\n":                                 "listen 8080;\n",
		"{{ .Values.big }}":                                            "12345678901234567890",
		"{{ .Env.NOMAD_TASK_NAME }} {{ .Env.A }}":                      "app b=c",
		`{{ or (index .Env "MISSING") "default" }}{{ .Env.EMPTY }}`:    "default",
		`{{ range $i, $h := .Values.hosts }}{{ $i }}={{ $h }} {{end}}`: "0=a 1=b ",
		`{{ join ", " .Values.hosts }}`:                                "a, b",
		`{{ json .Values.deep.name }} {{ json .Values.hosts }}`:        `"x \"y\" <z>" ["a","b"]`,
		`{{ if .Values.on }}yes{{ end }} $host ${x}`:                   "yes $host ${x}",
	} {
		got, err := text(t, template, values)
		must.NoError(t, err)
		must.Eq(t, want, got)
	}
}

func TestTextRefuses(t *testing.T) {
	for template, want := range map[string]string{
		"a\n{{ .Values.prot }}": `template:2:10: executing "template" at <.Values.prot>: map has no entry for key "prot"`,
		"{{ .Env.NOPE }}":       `map has no entry for key "NOPE"`,
		"a\n\n{{ if }}":         "template:3: missing value for if",
		"{{ shell }}":           `function "shell" not defined`,
	} {
		_, err := text(t, template, `{"port": 1}`)
		must.ErrorContains(t, err, want)
	}
}

func TestValues(t *testing.T) {
	for _, values := range []string{"", "{", `{"a": 1} 2`, "a: 1"} {
		_, err := render.NewData(nil, []byte(values))
		must.ErrorContains(t, err, "the values are not JSON: ")
	}
	data, err := render.NewData(nil, nil)
	must.NoError(t, err)
	_, err = render.Text([]byte("{{ .Values.x }}"), data)
	must.ErrorContains(t, err, `no entry for key "x"`)
}
