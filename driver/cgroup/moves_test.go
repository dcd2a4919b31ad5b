package cgroup

import (
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testtimeout"
)

// groupsFile is a /proc/PID/cgroup whose content others change.
type groupsFile struct{ content chan string }

func (f groupsFile) ReadAt(p []byte, _ int64) (int, error) {
	return copy(p, <-f.content), io.EOF
}

// A process is moved to where it is, and nowhere else once somebody moved it.
func TestAMoveOnTheSpotIsNoMoveBack(t *testing.T) {
	own := groupsFile{make(chan string)}
	written, procs := io.Pipe()
	moved := make(chan struct{})
	go func() { // ends with the change of the groups
		moveOnTheSpot("0::/nomad", own, procs, nil)
		close(moved)
	}()
	self := make([]byte, len(strconv.Itoa(os.Getpid())))
	own.content <- "0::/nomad"
	for range 3 {
		_, err := io.ReadFull(written, self)
		must.NoError(t, err)
		must.Eq(t, strconv.Itoa(os.Getpid()), string(self))
		own.content <- "0::/nomad"
	}
	_, err := io.ReadFull(written, self)
	must.NoError(t, err)
	own.content <- "0::/elsewhere"
	select {
	case <-moved:
	case <-time.After(testtimeout.Scale(10 * time.Second)):
		t.Fatal("it goes on where it was moved to")
	}
}

// Nor is it moved back where that was before the first time.
func TestAMoveBeforeTheFirstOnTheSpotStays(t *testing.T) {
	own := groupsFile{make(chan string, 1)}
	own.content <- "0::/elsewhere"
	var procs strings.Builder
	moveOnTheSpot("0::/nomad", own, &procs, nil)
	must.Eq(t, "", procs.String())
}

// Moves that are expected leave this process where it is.
func TestExpectedMovesMoveNothing(t *testing.T) {
	before, err := os.ReadFile("/proc/self/cgroup")
	must.NoError(t, err)
	var m Moves
	first, second := m.Expect(), m.Expect()
	first()
	must.Eq(t, 1, m.expected)
	select {
	case <-m.none:
		t.Fatal("moves are expected still")
	default:
	}
	second()
	<-m.none
	m.Expect()() // and again
	after, err := os.ReadFile("/proc/self/cgroup")
	must.NoError(t, err)
	must.Eq(t, string(before), string(after))
}

// Of which hierarchy the file is does not matter; that this process is in the
// group does.
func TestTheProcsOfThisProcess(t *testing.T) {
	g := group(t)
	groups, err := os.ReadFile("/proc/self/cgroup")
	must.NoError(t, err)
	must.FileExists(t, procsFile(string(groups)))

	other := exec.Command("/bin/sleep", "600")
	must.NoError(t, other.Start())
	must.NoError(t, g.Add(other.Process.Pid))
	of := "0::" + g.Path() + "\n4:memory:" + g.Path() + "\n1:name=systemd:" + g.Path() + "\n"
	must.Eq(t, "", procsFile(of))
	must.Eq(t, "", procsFile("0::/no/such/group\n7:no,such:/\n"))
	must.NoError(t, other.Process.Kill())
	must.Error(t, other.Wait())
}
