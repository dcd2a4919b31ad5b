package hcljob

import (
	"testing"

	"github.com/shoenig/test/must"
)

func TestParse_SyntaxErrorHints(t *testing.T) {
	const job = "job \"j\" {\n"
	for src, want := range map[string]string{
		"\xff\xfej\x00o\x00b\x00":                         "The file is UTF-16",
		job + "\u00a0 type = \"batch\"\n":                 "It is U+00A0.",
		job + "type\u200b = \"batch\"\n}":                 "It is U+200B.",
		job + "\f}\n":                                     "It is U+000C.",
		job + "}\x1a":                                     "It is U+001A.",
		job + "meta {\nsidecar.topz.port = 1\n}\n}\n":     `meta = { "sidecar.topz.port" = … }`,
		job + "meta { sidecar.inject = \"topz\" }\n}\n":   `meta = { "sidecar.inject" = … }`,
		job + "meta {\"sidecar.inject\" = \"topz\"}\n}\n": `meta = { "sidecar.inject" = … }`,
		job + "count = [[ .x ]]\n}\n":                     "looks like a part of a template",
		job + "count = ${n}\n}\n":                         "a template of Terraform",
		job + "%{ if x ~}\n count = 1\n%{ endif }\n}\n":   "a template of Terraform",
		"[[ if .x ]]\n" + job + "}\n[[ end ]]\n":          "looks like a part of a template",
		job + "x = \n{{ y }}\n}\n":                        "looks like a part of a template",
		"a/b.nomad:\r\n\r\n" + job + "}\n":                "nomad-pack render",
		"# x\n{\n\"ID\": 1}\n":                            "This line looks like JSON",
	} {
		_, diags := Parse([]byte(src), "job.hcl", Inputs{})
		must.Len(t, 1, diags, must.Sprint(src))
		must.StrContains(t, diags[0].Detail, want, must.Sprint(src))
	}
	for _, src := range []string{job + "x = [1, 2\n}\n", job + "x = \"{{ y }}\"\ny = \n}\n", job + ";\n}\n"} {
		_, diags := Parse([]byte(src), "job.hcl", Inputs{})
		must.StrNotContains(t, diags.Error(), "template")
		must.StrNotContains(t, diags.Error(), "U+")
	}
}
