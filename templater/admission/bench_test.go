package admission

import (
	"fmt"
	"strings"
	"testing"
)

// BenchmarkTreat is what the proxy does to a job of many groups.
func BenchmarkTreat(b *testing.B) {
	rules := rulesOf(b, notePolicy)
	for _, n := range []int{1, 10, 100} {
		groups := make([]string, n)
		for i := range groups {
			groups[i] = fmt.Sprintf(`{"Name":"g%d","Count":0,"Networks":[{"Mode":"bridge","DynamicPorts":[{"Label":"http","To":8080}]}],"Tasks":[{"Name":"app","Driver":"raw_exec","Config":{"command":"app","args":["-listen","8080"]},"Env":{"PORT":"8080"},"Resources":{"CPU":100,"MemoryMB":64}}]}`, i)
		}
		body := []byte(`{"Job":{"ID":"web","TaskGroups":[` + strings.Join(groups, ",") + `]}}`)
		b.Run(fmt.Sprintf("groups=%d", n), func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if v := rules.treat(b.Context(), body, anywhere); v.denial != nil {
					b.Fatal(v.denial.text)
				}
			}
		})
	}
}
