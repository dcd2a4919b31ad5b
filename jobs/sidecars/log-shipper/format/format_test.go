package format_test

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/sidecars/log-shipper/format"
)

var (
	source = format.Source{AllocID: "0d5fa7c1", Namespace: "default", Job: "web", Group: "front", Hostname: "web-0d5fa7c1"}
	noon   = time.Date(2026, 1, 2, 13, 0, 0, 123456789, time.FixedZone("", 3600))
)

func encode(t *testing.T, e format.Encoder, r format.Record) string {
	t.Helper()
	out, err := e([]byte("before;"), r)
	must.NoError(t, err)
	must.True(t, bytes.HasPrefix(out, []byte("before;")))
	return string(out[len("before;"):])
}

func TestJSON(t *testing.T) {
	r := format.Record{Time: noon, Task: `a"b`, Stream: "stdout", Text: []byte("<a>\t\"é\xff\r"), Number: 7}
	must.Eq(t, `{"time":"2026-01-02T12:00:00.123456789Z","seq":7,"alloc_id":"0d5fa7c1","namespace":"default","job":"web","group":"front","task":"a\"b","stream":"stdout","message":"<a>\t\"é`+"\\ufffd"+`\r"}`+"\n",
		encode(t, format.JSON(source), r))
	r.Partial = true
	var decoded map[string]any
	must.NoError(t, json.Unmarshal([]byte(encode(t, format.JSON(source), r)), &decoded))
	must.Eq[any](t, true, decoded["partial"])
}

func TestText(t *testing.T) {
	r := format.Record{Time: noon, Task: "a b/c", Stream: "stderr", Text: []byte("x \xff y")}
	must.Eq(t, "2026-01-02T12:00:00.123456789Z a%20b%2Fc stderr F x \xff y\n", encode(t, format.Text(), r))
	r.Partial, r.Text = true, nil
	must.Eq(t, "2026-01-02T12:00:00.123456789Z a%20b%2Fc stderr P \n", encode(t, format.Text(), r))
}

func TestSyslog(t *testing.T) {
	e, err := format.Syslog(source, "local0", 0)
	must.NoError(t, err)
	must.Eq(t, `98 <134>1 2026-01-02T12:00:00.123456Z web-0d5fa7c1 app 0d5fa7c1 stdout [meta sequenceId="1"] hello é`,
		encode(t, e, format.Record{Time: noon, Task: "app", Stream: "stdout", Text: []byte("hello é"), Number: 1}))
	must.StrContains(t, encode(t, e, format.Record{Time: noon, Task: "app", Stream: "stderr", Partial: true, Number: 1 << 31}),
		`<131>1 2026-01-02T12:00:00.123456Z web-0d5fa7c1 app 0d5fa7c1 stderr-partial [meta sequenceId="1"] `)
}

func TestSyslogWithOddNames(t *testing.T) {
	e, err := format.Syslog(format.Source{Job: `a]b"c\d`}, "user", 99999)
	must.NoError(t, err)
	got := encode(t, e, format.Record{Time: noon, Task: "ünï task that has a name longer than the header takes it", Stream: "stdout", Number: 2})
	must.StrContains(t, got, `Z - _n__task_that_has_a_name_longer_than_the_header_ - stdout [meta sequenceId="2"][nomad@99999 namespace="" job="a\]b\"c\\d" group="" task="ünï task that`)
}

func TestSyslogFacility(t *testing.T) {
	for _, name := range []string{"", "-", "local8", "LOCAL0"} {
		_, err := format.Syslog(source, name, 0)
		must.ErrorContains(t, err, "is not a facility")
	}
}
