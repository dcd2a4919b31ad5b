package cluster

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
)

func jobOf(t *testing.T, tasks string) []byte {
	t.Helper()
	raw := `{"ID":"web","TaskGroups":[{"Name":"g","Tasks":[` + tasks + `]}]}`
	must.True(t, json.Valid([]byte(raw)), must.Sprint(raw))
	return []byte(raw)
}

func podTask(name, config string) string {
	return `{"Name":"` + name + `","Driver":"pod","Config":{` + config + `}}`
}

// TestNewImages checks which images are pulled in advance, and which are named as left out.
func TestNewImages(t *testing.T) {
	const auth = `"auth":[{"username":"u","password":"p"}]`
	for name, tc := range map[string]struct {
		now, next string
		want      []string // references
		left      string
	}{
		"new":           {"", podTask("app", `"image":"r.example/app:2"`), []string{"r.example/app:2"}, ""},
		"same":          {podTask("app", `"image":"r.example/app:2"`), podTask("other", `"image":"r.example/app:2","command":"x"`), nil, ""},
		"other arch":    {podTask("app", `"image":"a"`), podTask("app", `"image":"a","platform":"linux/arm64"`), []string{"a"}, ""},
		"always":        {podTask("app", `"image":"a"`), podTask("app", `"image":"a","force_pull":true`), []string{"a"}, ""},
		"policy":        {podTask("app", `"image":"a"`), podTask("app", `"image":"a","image_pull_policy":"always"`), []string{"a"}, ""},
		"twice":         {"", podTask("x", `"image":"a"`) + "," + podTask("y", `"image":"a"`), []string{"a"}, ""},
		"two accounts":  {"", podTask("x", `"image":"a"`) + "," + podTask("y", `"image":"a",`+auth), []string{"a", "a"}, ""},
		"mounts":        {"", podTask("x", `"command":"sh","mount":[{"type":"image","source":"m","target":"/m"},{"type":"bind","source":"b","target":"/b"}],"mounts":{"type":"image","source":"n","target":"/n"}`), []string{"m", "n"}, ""},
		"no image":      {"", podTask("x", `"command":"sh"`), nil, ""},
		"template auth": {"", podTask("x", `"image":"a","auth":[{"username":"u","password":"${PASSWORD}"}]`), nil, "auth is known only to the client"},
		"node's image":  {"", podTask("x", `"image":"r.example/${attr.cpu.arch}:1"`), nil, "image is known only to the client"},
		"artifact":      {"", podTask("x", `"image":"oci:local/image"`), nil, "its files are fetched when the task starts"},
		"on the host":   {"", podTask("x", `"image":"oci-archive:/srv/image.tar"`), []string{"oci-archive:/srv/image.tar"}, ""},
		"docker":        {"", `{"Name":"d","Driver":"docker","Config":{"image":"a"}}`, nil, `the task's is "docker"`},
	} {
		t.Run(name, func(t *testing.T) {
			images, left, err := newImages(jobOf(t, tc.now), jobOf(t, tc.next))
			must.NoError(t, err)
			var got []string
			for _, i := range images {
				got = append(got, i.reference())
			}
			must.Eq(t, tc.want, got)
			must.StrContains(t, strings.Join(left, "\n"), tc.left)
			must.Eq(t, tc.left == "", len(left) == 0)
		})
	}
}

// TestRunningNodes_Job checks the job that pulls images: namespace, pool, nodes, credentials, and that it
// has nothing else of the job's.
func TestRunningNodes_Job(t *testing.T) {
	next := jobOf(t, podTask("app", `"image":"a","auth":[{"username":"u","password":"p"}],"command":"run","image_pull_timeout":"1m"`))
	images, _, err := newImages([]byte("{}"), next)
	must.NoError(t, err)
	nodes := &runningNodes{ids: []string{"n1", "n2"}, pool: "gpu"}
	job, err := nodes.job(&Job{ID: "web", Namespace: "team", Region: "eu", JSON: next}, images)
	must.NoError(t, err)
	must.StrHasPrefix(t, "web-prefetch-", job.ID)
	var got struct {
		Namespace, Region, NodePool, Type string
		Constraints                       []struct{ LTarget, RTarget, Operand string }
		TaskGroups                        []struct {
			Tasks []struct {
				Driver string
				Config map[string]any
			}
		}
	}
	must.NoError(t, json.Unmarshal(job.JSON, &got))
	must.Eq(t, []string{"team", "eu", "gpu", "sysbatch"}, []string{got.Namespace, got.Region, got.NodePool, got.Type})
	must.Eq(t, "n1,n2", got.Constraints[0].RTarget)
	must.Eq(t, map[string]any{
		"image": "a", "auth": []any{map[string]any{"username": "u", "password": "p"}}, "image_pull_timeout": "1m", "pull_only": true,
	}, got.TaskGroups[0].Tasks[0].Config)
}
