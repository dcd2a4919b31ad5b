package podtask

import (
	"testing"

	"github.com/shoenig/test/must"
)

const (
	allocID      = "0d5fa7c1-26a1-4d3c-9a55-1f4a4b7a9c01"
	otherAllocID = "99999999-26a1-4d3c-9a55-1f4a4b7a9c01"
)

func taskEnviron(alloc, task string) []string {
	return []string{"PATH=/bin", "NOMAD_TASK_NAME=" + task, "NOMAD_ALLOC_ID=" + alloc}
}

func TestAttributeOneProcess(t *testing.T) {
	cases := []struct {
		name string
		pid  int
		c    Clues
		want string
	}{
		{"v2, beside the reader's own scope", 7, Clues{Cgroups: []string{"/../" + allocID + ".app.scope"}}, "app"},
		{"v2, in another slice", 7, Clues{Cgroups: []string{"/../../reserve.slice/" + allocID + ".app.scope"}}, "app"},
		{"v2, from the root", 7, Clues{Cgroups: []string{"/nomad.slice/share.slice/" + allocID + ".app.scope"}}, "app"},
		{"v2, a leaf of the scope", 7, Clues{Cgroups: []string{"/../" + allocID + ".app.scope/container"}}, "app"},
		{"v1, no suffix, not the first hierarchy", 7, Clues{Cgroups: []string{"/", "/user.slice", "/nomad/" + allocID + ".app"}}, "app"},
		{"a dot in the task's name", 7, Clues{Cgroups: []string{"/../" + allocID + ".web.v2.scope"}}, "web.v2"},
		{"a dash and spaces in the task's name", 7, Clues{Cgroups: []string{"/../" + allocID + ".tls-proxy of mine.scope"}}, "tls-proxy of mine"},
		{"a forged scope inside of the task's own", 7, Clues{Cgroups: []string{"/../" + allocID + ".app.scope/" + allocID + ".vault.scope"}}, "app"},
		{"the cgroup is believed before the environment", 7, Clues{Cgroups: []string{"/../" + allocID + ".app.scope"}, Environ: taskEnviron(allocID, "vault")}, "app"},
		{"a scope of another allocation", 7, Clues{Cgroups: []string{"/../" + otherAllocID + ".app.scope"}}, ""},
		{"not a scope", 7, Clues{Cgroups: []string{"/system.slice/ssh.service"}}, ""},
		{"the environment where the cgroup does not tell", 7, Clues{Cgroups: []string{"/"}, Environ: taskEnviron(allocID, "topz")}, "topz"},
		{"an environment of another allocation", 7, Clues{Environ: taskEnviron(otherAllocID, "topz")}, ""},
		{"no clue at all", 7, Clues{}, ""},
		{"the pod's own process", 1, Clues{Name: "catatonit", Cgroups: []string{"/../../pod"}}, "(pod)"},
		{"catatonit as a task's own init", 7, Clues{Name: "catatonit"}, ""},
		{"catatonit as process 1 of a task", 1, Clues{Name: "catatonit", Cgroups: []string{"/../" + allocID + ".app.scope"}}, "app"},
		{"another process 1", 1, Clues{Name: "systemd"}, ""},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			must.Eq(t, tc.want, Attribute(map[int]Clues{tc.pid: tc.c}, allocID)[tc.pid])
		})
	}
}

func TestAttributeWithoutAllocationAcceptsAny(t *testing.T) {
	got := Attribute(map[int]Clues{
		2: {Cgroups: []string{"/../" + otherAllocID + ".app.scope"}},
		3: {Environ: taskEnviron(otherAllocID, "db")},
	}, "")
	must.Eq(t, map[int]string{2: "app", 3: "db"}, got)
}

func TestAttributeInheritsFromTheNearestKnownAncestor(t *testing.T) {
	app := []string{"/../" + allocID + ".app.scope"}
	got := Attribute(map[int]Clues{
		1:  {Name: "catatonit"},
		10: {Parent: 1, Cgroups: app},
		11: {Parent: 10},
		12: {Parent: 11},
		13: {Parent: 1},               // an orphan: could be anyone's
		14: {Parent: 13},              // and its child
		15: {Parent: 99},              // its parent ended while we were reading
		16: {Parent: 17},              // a cycle, made by reused PIDs
		17: {Parent: 16},              //
		18: {Parent: 0, Cgroups: app}, // started into the pod from outside
	}, allocID)
	must.Eq(t, map[int]string{
		1: "(pod)", 10: "app", 11: "app", 12: "app",
		13: "", 14: "", 15: "", 16: "", 17: "", 18: "app",
	}, got)
}
