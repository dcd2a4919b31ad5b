package jsonjob

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/shoenig/test/must"
	ctyjson "github.com/zclconf/go-cty/cty/json"
	"pgregory.net/rapid"

	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

func seeds() []string {
	return []string{
		`{}`, ` [ ] `, `{"a" : [1, 2.50e+1 ,"x\"\\\u0000"], "b":{ "c":null}, "a":true}`, "\n{\r\n\t\"a\":\t[\n]\n}\n trailing {",
		`{"Job":{"ID":"j","TaskGroups":[{"Name":"g","Tasks":[{"Name":"t","Driver":"pod"}]}]}}`, `"text"`, `-0.0`, "2" + strings.Repeat("0", 400),
	}
}

func TestWhatIsReadIsWritten(t *testing.T) {
	for _, src := range seeds() {
		d, err := parseJSON([]byte(src))
		must.NoError(t, err)
		must.Eq(t, src, d.lead+string(d.root.write(nil))+d.rest)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range seeds() {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		d, err := parseJSON(src)
		must.Eq(t, err == nil, json.NewDecoder(bytes.NewReader(src)).Decode(new(json.RawMessage)) == nil)
		if err == nil {
			must.Eq(t, string(src), d.lead+string(d.root.write(nil))+d.rest)
		}
		if j, _ := Parse(src, "job.json", &sidecar.Catalog{}); j != nil {
			out, diags := j.Apply(nil)
			must.False(t, diags.HasErrors())
			must.Eq(t, string(src), string(out))
		}
	})
}

func TestTheLastOfSeveralKeysCountsWithoutCase(t *testing.T) {
	d, err := parseJSON([]byte(`{"Name":"a","name":"b","NAME":"c","Other":1}`))
	must.NoError(t, err)
	must.Eq(t, "c", d.root.get("Name").str())
	d.root.set("Name", &node{text: `"d"`}, layout{})
	must.Eq(t, `{"Name":"a","name":"b","NAME":"d","Other":1}`, string(d.root.write(nil)))
}

func TestAddingAndRemovingIsNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		src := rapid.SampledFrom([]string{`[1,2]`, `[]`, `{ }`, "[ \n]", "[\n  1,\n  2\n]", `{"a":1}`, `{ "a": 1 , "b" : 2 }`}).Draw(t, "src")
		d, err := parseJSON([]byte(src))
		must.NoError(t, err)
		root := d.root
		n, l := rapid.IntRange(1, 4).Draw(t, "items"), layout{step: "  "}
		for range n {
			root.append(&item{value: &node{text: "3"}}, l)
		}
		for range n {
			root.remove(len(root.items)-1, l)
		}
		must.Eq(t, src, string(root.write(nil)))
	})
}

func TestSyntaxErrorsHaveAPlace(t *testing.T) {
	for src, line := range map[string]int{"{\n\"a\": }": 2, "{\n\n": 3, "": 1, "{\"a\":1\n,,}": 2} {
		_, diags := Parse([]byte(src), "job.json", &sidecar.Catalog{})
		must.Len(t, 1, diags)
		must.Eq(t, "Invalid JSON", diags[0].Summary)
		must.Eq(t, line, diags[0].Subject.Start.Line, must.Sprintf("%q", src))
	}
}

func TestABlockThatNomadDoesNotKnowIsAnError(t *testing.T) {
	f, diags := Parse([]byte(`{"ID":"j","TaskGroups":[{"Name":"g"}]}`), "job.json", &sidecar.Catalog{})
	must.False(t, diags.HasErrors())
	task := &sidecar.Block{Type: "task", Labels: []string{"t"}, Body: sidecar.Body{&sidecar.Block{Type: "confg"}}}
	_, diags = f.Apply([]job.Edit{&job.AddTask{Group: "g", Task: task}})
	must.Eq(t, hcl.DiagError, diags[0].Severity)
	must.StrContains(t, diags[0].Detail, `task "t"`)
	must.StrContains(t, diags[0].Detail, "confg")
}

func TestLengthIsThatOfTheText(t *testing.T) {
	for _, src := range []string{`null`, `[]`, `{ }`, `[ 1 , [2,3 ] ]`, "{\n \"a\" : 1,\"b\":[ ] , \"c\": {\"d\":\"e\"}\n}"} {
		d, err := parseJSON([]byte(src))
		must.NoError(t, err)
		must.Eq(t, len(src), d.root.length())
	}
}

func TestValuesAreThoseOfTheDecoderOfCty(t *testing.T) {
	for _, src := range []string{
		`null`, `true`, `""`, `"x"`, `"e\u0301\n\ud800"`, `0`, `-1`, `1.50`, `1e3`, `123456789012345678901234567890`,
		`[]`, `[ ]`, `["a", 1, null, [true, {}]]`, `{}`, `{"a": [1, "x"], "b": null}`, `[{"a": 1}, {"a": "x"}]`,
	} {
		d, err := parseJSON([]byte(src))
		must.NoError(t, err)
		want, err := ctyjson.ImpliedType([]byte(src))
		must.NoError(t, err)
		v, err := ctyjson.Unmarshal([]byte(src), want)
		must.NoError(t, err)
		must.True(t, v.RawEquals(toCty(d.root)), must.Sprintf("%s: %#v, %#v", src, v, toCty(d.root)))
	}
}
