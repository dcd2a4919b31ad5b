package driver_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/nomad/nomad/structs"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"
)

// ranges lists the records of ids.
func (n *node) ranges() []string {
	names, err := filepath.Glob(filepath.Join(n.config.RunDir, "userns", "*"))
	must.NoError(n.t, err)
	return names
}

// Trap D30: other pods must not keep a pod from getting ids.
// TestUserns_Pool checks that pods get different ids while others have some, that a start without
// free ids can be repeated, and that a damaged record of ids neither gives them to another pod nor
// affects the pod that has them.
func TestUserns_Pool(t *testing.T) {
	n := newUsernsNode(t, nil)
	config := auto(sh("sleep infinity"))
	var pods []*task
	var handles []*drivers.TaskHandle
	for i := range usernsRanges {
		tk := n.newTask("", "app", config, asHostRoot)
		handles = append(handles, tk.start())
		pods = append(pods, tk)
		must.Eq(t, usernsMap(i), tk.firstID())
	}
	full := n.newTask("", "app", config, asHostRoot)
	err := n.startError(full)
	must.ErrorContains(t, err, "no free range of ids: all 3 ranges of the pool are in use; wait for other pods to end, or raise userns.size")
	must.True(t, structs.IsRecoverable(err))

	record := func(i int) string { return filepath.Join(n.config.RunDir, "userns", fmt.Sprint(usernsFirst+i<<16)) }
	must.NoError(t, first(os.Remove(record(0)), os.WriteFile(record(0), []byte("garbage"), 0o600)))
	must.NoError(t, first(os.Remove(record(1)), os.Symlink("../..", record(1))))
	n.abandon()
	n.start()
	for i, tk := range pods {
		must.NoError(t, n.RecoverTask(handles[i]))
		must.Eq(t, usernsMap(i), tk.firstID())
	}
	must.ErrorContains(t, n.startError(n.newTask("", "app", config, asHostRoot)), "no free range of ids")
	late := n.newTask(pods[0].AllocID, "late", config, asHostRoot)
	late.start()
	must.Eq(t, usernsMap(0), late.firstID())
	owner, err := os.Readlink(record(0))
	must.NoError(t, err)
	must.Eq(t, pods[0].AllocID, owner)

	must.NoError(t, n.DestroyTask(pods[2].ID, true))
	n.waitFor("the ids to be free", func() bool {
		_, err := os.Lstat(record(2))
		return os.IsNotExist(err)
	})
	again := n.newTask("", "app", config, asHostRoot)
	again.start()
	must.Eq(t, usernsMap(2), again.firstID())
}
