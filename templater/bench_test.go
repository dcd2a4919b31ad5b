package templater_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/jobspec2"
	"github.com/shoenig/test/must"
)

// hundredGroups is fullJob with its group a hundred times.
func hundredGroups() []byte {
	from, to := strings.Index(fullJob, "  group"), strings.LastIndex(fullJob, "}")
	var out strings.Builder
	out.WriteString(fullJob[:from])
	for i := range 100 {
		out.WriteString(strings.Replace(fullJob[from:to], `"g"`, fmt.Sprintf(`"g%d"`, i), 1))
	}
	out.WriteString("}\n")
	return []byte(out.String())
}

// Injecting a job of a hundred groups is measured against parsing it.
func BenchmarkParseByNomad(b *testing.B) {
	src := hundredGroups()
	for b.Loop() {
		_, err := jobspec2.ParseWithConfig(&jobspec2.ParseConfig{Path: "job.hcl", Body: src, Strict: true})
		must.NoError(b, err)
	}
}

func BenchmarkInjectText(b *testing.B) {
	src, c := hundredGroups(), loadCatalog(b)
	for b.Loop() {
		inject(b, parseHCL(b, src), c, with("viewer", "ports"))
	}
}

func BenchmarkInjectJSON(b *testing.B) {
	c := loadCatalog(b)
	src, diags := parseHCL(b, hundredGroups()).JSON()
	must.False(b, diags.HasErrors())
	for b.Loop() {
		inject(b, parseJSON(b, src, c), c, with("viewer", "ports"))
	}
}
