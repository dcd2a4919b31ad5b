package jsonjob

import (
	"testing"

	"github.com/shoenig/test/must"
)

func TestParse_Null(t *testing.T) {
	for src, says := range map[string]string{
		"{\"Job\": {\"ID\": \"j\",\n\"TaskGroups\": [null]}}":                         "TaskGroups[0] is null",
		"{\"ID\": \"j\", \"TaskGroups\": [\n{\"Tasks\": [{\"Name\": \"a\"}, null]}]}": "TaskGroups[0].Tasks[1] is null",
	} {
		f, diags := Parse([]byte(src), "job.json", nil)
		must.Nil(t, f)
		must.Len(t, 1, diags)
		must.StrContains(t, diags[0].Detail, says)
		must.Eq(t, 2, diags[0].Subject.Start.Line)
	}
}
