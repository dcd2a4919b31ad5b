// Package render fills in a template of text/template.
//
// It does not escape: what is right for a format, the template has to say.
package render

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/template"
)

// Data is what a template sees.
type Data struct {
	Env    map[string]string // .Env.NAME
	Values any               // .Values, as JSON is decoded; numbers as they were written
}

// NewData takes an environment, as NAME=value, and values in JSON, nil for
// none.
func NewData(environ []string, values []byte) (Data, error) {
	data := Data{Env: make(map[string]string, len(environ)), Values: map[string]any{}}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		data.Env[name] = value
	}
	if values == nil {
		return data, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(values))
	decoder.UseNumber() // 8080 is to be written as that, not as 8080.0 or 8.08e+03
	err := decoder.Decode(&data.Values)
	if err == nil {
		if _, more := decoder.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("there is more after the first value")
		}
	}
	if err != nil {
		return data, fmt.Errorf("the values are not JSON: %w", err)
	}
	return data, nil
}

// Text renders a template. A field that is not there is an error, as it most
// often is a mistake; {{ or (index .Env "NAME") "default" }} is not.
func Text(text []byte, data Data) ([]byte, error) {
	parsed, err := template.New("template").Option("missingkey=error").Funcs(template.FuncMap{
		"json": toJSON,
		"join": join,
	}).Parse(string(text))
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := parsed.Execute(&out, data); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// toJSON is a value as JSON, which most formats take as a quoted string, too.
func toJSON(value any) (string, error) {
	var out strings.Builder
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return strings.TrimSuffix(out.String(), "\n"), err
}

// join writes the items of a list with something between them.
func join(between string, list []any) string {
	items := make([]string, len(list))
	for i, item := range list {
		items[i] = fmt.Sprint(item)
	}
	return strings.Join(items, between)
}
