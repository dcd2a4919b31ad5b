package render

import (
	"testing"

	"github.com/shoenig/test/must"
)

// FuzzText: no values or template crash the renderer, and the text is the same
// each time.
func FuzzText(f *testing.F) {
	f.Add("{{ .Values.a }} {{ json .Values }}", `{"a": [1, "x", null]}`)
	f.Add("{{ range .Values }}{{ . }}{{ end }}{{ join \",\" .Values.a }}", "a: [1, 2]\n")
	f.Add("{{ template \"x\" . }}{{ define \"x\" }}{{ index .Values \"a\" 0 }}{{ end }}", `{"a": {}}`)
	f.Fuzz(func(t *testing.T, template, values string) {
		data, err := NewData([]string{"A=b", "NOMAD_X=1"}, []byte(values))
		if err != nil {
			return
		}
		text, err := Text([]byte(template), data)
		again, errAgain := Text([]byte(template), data)
		must.Eq(t, err == nil, errAgain == nil)
		must.Eq(t, string(text), string(again))
	})
}
