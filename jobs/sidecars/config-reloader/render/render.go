// Package render renders templates of text/template.
//
// It does not escape values; templates must do that for their format.
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

// Data is the data of a template.
type Data struct {
	Env    map[string]string // .Env.NAME
	Values any               // .Values, decoded from JSON with numbers as they were written
}

// NewData takes an environment as NAME=value and values in JSON, nil for none.
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
	decoder.UseNumber() // so that 8080 is not rendered as 8.08e+03
	err := decoder.Decode(&data.Values)
	if err == nil {
		if _, more := decoder.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("there is text after the first value")
		}
	}
	if err != nil {
		return data, fmt.Errorf("the values are not JSON: %w", err)
	}
	return data, nil
}

// Text renders a template. A missing field is an error; use
// {{ or (index .Env "NAME") "default" }} for optional ones.
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

// toJSON returns a value as JSON, which most formats accept as a quoted string.
func toJSON(value any) (string, error) {
	var out strings.Builder
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return strings.TrimSuffix(out.String(), "\n"), err
}

// join joins the items of a list with a separator.
func join(between string, list []any) string {
	items := make([]string, len(list))
	for i, item := range list {
		items[i] = fmt.Sprint(item)
	}
	return strings.Join(items, between)
}
