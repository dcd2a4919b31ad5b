package policy

import (
	"testing"

	"github.com/shoenig/test/must"
)

// FuzzPolicy checks that no policy file crashes the parser and that each error has a position.
func FuzzPolicy(f *testing.F) {
	for _, seed := range []string{
		"rule \"a\" {\n match {\n namespace = [\"prod-*\"]\n meta = { x = \"y\" }\n }\n inject \"s\" {\n x = 1\n }\n}\n",
		"rule \"a\" {\n required = true\n validation {\n condition = length(job.name) > 0\n error_message = \"${job.name}\"\n }\n}\n",
		"rule \"a\" {\n match {\n request {\n client = [\"10.0.0.0/8\"]\n }\n }\n validation {\n level = \"warn\"\n condition = request.roles == []\n error_message = request.accessor\n }\n}\n",
		"rule \"a\" {\n default {\n kill_timeout = \"5s\"\n resources {\n cpu = 3\n memory = 4\n }\n update {\n auto_revert = true\n }\n }\n}\n",
		"rule \"a\" {}\nrule \"a\" {\n match {}\n match {}\n}\n",
		"rule {\n validation {\n condition = job[[[[\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		var p Policy
		for _, diag := range p.Add(src, "x.policy.hcl") {
			must.NotNil(t, diag.Subject, must.Sprint(diag))
		}
		_ = p.MaySkip()
		_ = p.AsksWho()
	})
}
