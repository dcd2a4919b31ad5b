package admission

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"
)

// BenchmarkTreat measures the proxy's work on a job with many groups, as "nomad job run" sends it,
// with all fields of Nomad's types.
func BenchmarkTreat(b *testing.B) {
	rules := rulesOf(b, strings.Replace(notePolicy, `"top secret"`, `"of ${job.id}, ${group.name}"`, 1))
	forSizes(b, func(body []byte) {
		if v := rules.treat(b.Context(), body, anywhere); v.denial != nil {
			b.Fatal(v.denial.text)
		}
	})
}

// BenchmarkDecode measures Nomad's minimum work on the same job.
func BenchmarkDecode(b *testing.B) {
	forSizes(b, func(body []byte) {
		var req api.JobRegisterRequest
		must.NoError(b, json.Unmarshal(body, &req))
	})
}

func forSizes(b *testing.B, do func(body []byte)) {
	for _, n := range []int{1, 10, 100} {
		body := requestOfGroups(b, n)
		b.Run(fmt.Sprintf("groups=%d", n), func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				do(body)
			}
		})
	}
}

func requestOfGroups(b *testing.B, n int) []byte {
	b.Helper()
	job := api.NewServiceJob("web", "web", "global", 50)
	for i := range n {
		g := api.NewTaskGroup(fmt.Sprintf("g%d", i), 0)
		g.Networks = []*api.NetworkResource{{Mode: "bridge", DynamicPorts: []api.Port{{Label: "http", To: 8080}}}}
		task := api.NewTask("app", "raw_exec").SetConfig("command", "app").SetConfig("args", []string{"-listen", "8080"})
		task.Env = map[string]string{"PORT": "8080"}
		task.Resources = &api.Resources{CPU: new(100), MemoryMB: new(64)}
		g.AddTask(task)
		job.AddTaskGroup(g)
	}
	job.Canonicalize()
	body, err := json.Marshal(api.JobRegisterRequest{Job: job})
	must.NoError(b, err)
	return body
}
