package journal_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/sidecars/log-shipper/journal"
	"github.com/nomad-sidecar/nomad-sidecar/jobs/sidecars/log-shipper/tail"
)

const alloc = "0d5fa7c1-26a1-4d3c-9a55-1f4a4b7a9c01"

// open closes the journal at the end of the test, which stands for a crash
// where another one is opened before.
func open(t *testing.T, dir string) *journal.Journal {
	t.Helper()
	j, err := journal.Open(dir, alloc)
	must.NoError(t, err)
	t.Cleanup(func() { must.NoError(t, j.Close()) })
	return j
}

func batch(j *journal.Journal, lines uint64, body string, places map[tail.Stream]tail.Place) *journal.Batch {
	b := j.Next()
	b.Lines, b.Body, b.Places = lines, []byte(body), places
	return b
}

var (
	stdout = tail.Stream{Task: `od"d task`, Name: "stdout"}
	stderr = tail.Stream{Task: "app", Name: "stderr"}
)

func TestStagedBatchComesBackUntilItIsCommitted(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	must.Nil(t, j.Pending())
	first := batch(j, 3, "a\nb\nc\n", map[tail.Stream]tail.Place{stdout: {File: 1, Inode: 7, Offset: 9}})
	must.Eq(t, 1, first.Number)
	must.Eq(t, 1, first.FirstLine)
	must.NoError(t, j.Stage(first))

	again := open(t, dir)
	must.Eq(t, j.Series(), again.Series())
	must.Eq(t, first, again.Pending())
	must.Eq(t, first.Places, again.Places(), must.Sprint("its lines are not read again"))
	must.NoError(t, again.Commit(again.Pending(), []byte(`{"x":1}`)))
	must.Nil(t, again.Pending())

	j = open(t, dir)
	must.Nil(t, j.Pending())
	must.Eq(t, first.Places, j.Places())
	must.Eq(t, 3, j.Lines())
	must.Eq(t, `{"x":1}`, string(j.Position()))
	second := batch(j, 1, "d\n", map[tail.Stream]tail.Place{stderr: {Inode: 8, Offset: 2}})
	must.Eq(t, 2, second.Number)
	must.Eq(t, 4, second.FirstLine)
	must.NoError(t, j.Commit(second, nil))
	must.Eq(t, map[tail.Stream]tail.Place{stdout: {File: 1, Inode: 7, Offset: 9}, stderr: {Inode: 8, Offset: 2}}, open(t, dir).Places())
}

func TestNoteChangesThePositionAlone(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	must.NoError(t, j.Commit(batch(j, 2, "", map[tail.Stream]tail.Place{stdout: {Inode: 1}}), []byte(`1`)))
	must.NoError(t, j.Note([]byte(`2`)))
	j = open(t, dir)
	must.Eq(t, `2`, string(j.Position()))
	must.Eq(t, 2, j.Lines())
	must.MapLen(t, 1, j.Places())
}

func TestJournalOfAnotherAllocationIsNotOurs(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	must.NoError(t, j.Commit(batch(j, 2, "", map[tail.Stream]tail.Place{stdout: {Inode: 1}}), nil))
	must.NoError(t, j.Stage(batch(j, 1, "x", nil)))
	other, err := journal.Open(dir, "another")
	must.NoError(t, err)
	defer other.Close()
	must.NotEq(t, j.Series(), other.Series())
	must.Nil(t, other.Pending())
	must.MapEmpty(t, other.Places())
	must.Zero(t, other.Lines())
}

// What was staged before the state was lost is not taken for a batch of the
// new series.
func TestLostStateBeginsANewSeries(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	must.NoError(t, j.Stage(batch(j, 1, "x", nil)))
	must.NoError(t, os.Remove(filepath.Join(dir, "state.json")))
	again := open(t, dir)
	must.NotEq(t, j.Series(), again.Series())
	must.Nil(t, again.Pending())
}

func TestBrokenFilesAreNamed(t *testing.T) {
	for file, want := range map[string]string{"state.json": "send everything again", "pending": "read again"} {
		dir := t.TempDir()
		open(t, dir)
		must.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte("{half"), 0o600))
		_, err := journal.Open(dir, alloc)
		must.ErrorContains(t, err, filepath.Join(dir, file)+" is broken")
		must.ErrorContains(t, err, want)
	}
	dir := t.TempDir()
	must.NoError(t, os.WriteFile(filepath.Join(dir, "state.json"), []byte(`{"version":2}`), 0o600))
	_, err := journal.Open(dir, alloc)
	must.ErrorContains(t, err, "has version 2")
	_, err = journal.Open(filepath.Join(dir, "missing"), alloc)
	must.ErrorIs(t, err, os.ErrNotExist)
}

func TestLinesAreNotForOthersToRead(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	must.NoError(t, j.Stage(batch(j, 1, "secret", nil)))
	for _, name := range []string{"state.json", "pending"} {
		info, err := os.Stat(filepath.Join(dir, name))
		must.NoError(t, err)
		must.Eq(t, 0o600, info.Mode())
	}
}
