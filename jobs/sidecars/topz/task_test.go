package main

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
		c    clues
		want string
	}{
		{"v2, beside the reader's own scope", 7, clues{cgroups: []string{"/../" + allocID + ".app.scope"}}, "app"},
		{"v2, in another slice", 7, clues{cgroups: []string{"/../../reserve.slice/" + allocID + ".app.scope"}}, "app"},
		{"v2, from the root", 7, clues{cgroups: []string{"/nomad.slice/share.slice/" + allocID + ".app.scope"}}, "app"},
		{"v2, a leaf of the scope", 7, clues{cgroups: []string{"/../" + allocID + ".app.scope/container"}}, "app"},
		{"v1, no suffix, not the first hierarchy", 7, clues{cgroups: []string{"/", "/user.slice", "/nomad/" + allocID + ".app"}}, "app"},
		{"a dot in the task's name", 7, clues{cgroups: []string{"/../" + allocID + ".web.v2.scope"}}, "web.v2"},
		{"a dash and spaces in the task's name", 7, clues{cgroups: []string{"/../" + allocID + ".tls-proxy of mine.scope"}}, "tls-proxy of mine"},
		{"a forged scope inside of the task's own", 7, clues{cgroups: []string{"/../" + allocID + ".app.scope/" + allocID + ".vault.scope"}}, "app"},
		{"the cgroup is believed before the environment", 7, clues{cgroups: []string{"/../" + allocID + ".app.scope"}, environ: taskEnviron(allocID, "vault")}, "app"},
		{"a scope of another allocation", 7, clues{cgroups: []string{"/../" + otherAllocID + ".app.scope"}}, ""},
		{"not a scope", 7, clues{cgroups: []string{"/system.slice/ssh.service"}}, ""},
		{"the environment where the cgroup does not tell", 7, clues{cgroups: []string{"/"}, environ: taskEnviron(allocID, "topz")}, "topz"},
		{"an environment of another allocation", 7, clues{environ: taskEnviron(otherAllocID, "topz")}, ""},
		{"no clue at all", 7, clues{}, ""},
		{"the pod's own process", 1, clues{name: "catatonit", cgroups: []string{"/../../pod"}}, "(pod)"},
		{"catatonit as a task's own init", 7, clues{name: "catatonit"}, ""},
		{"catatonit as process 1 of a task", 1, clues{name: "catatonit", cgroups: []string{"/../" + allocID + ".app.scope"}}, "app"},
		{"another process 1", 1, clues{name: "systemd"}, ""},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			must.Eq(t, tc.want, attribute(map[int]clues{tc.pid: tc.c}, allocID)[tc.pid])
		})
	}
}

func TestAttributeWithoutAllocationAcceptsAny(t *testing.T) {
	got := attribute(map[int]clues{
		2: {cgroups: []string{"/../" + otherAllocID + ".app.scope"}},
		3: {environ: taskEnviron(otherAllocID, "db")},
	}, "")
	must.Eq(t, map[int]string{2: "app", 3: "db"}, got)
}

func TestAttributeInheritsFromTheNearestKnownAncestor(t *testing.T) {
	app := []string{"/../" + allocID + ".app.scope"}
	got := attribute(map[int]clues{
		1:  {name: "catatonit"},
		10: {parent: 1, cgroups: app},
		11: {parent: 10},
		12: {parent: 11},
		13: {parent: 1},               // an orphan: could be anyone's
		14: {parent: 13},              // and its child
		15: {parent: 99},              // its parent ended while we were reading
		16: {parent: 17},              // a cycle, made by reused PIDs
		17: {parent: 16},              //
		18: {parent: 0, cgroups: app}, // started into the pod from outside
	}, allocID)
	must.Eq(t, map[int]string{
		1: "(pod)", 10: "app", 11: "app", 12: "app",
		13: "", 14: "", 15: "", 16: "", 17: "", 18: "app",
	}, got)
}
