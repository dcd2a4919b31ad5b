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

// groupsFile is a /proc/PID/cgroup whose content a test changes.
type groupsFile struct{ content chan string }

func (f groupsFile) ReadAt(p []byte, _ int64) (int, error) {
	return copy(p, <-f.content), io.EOF
}

// A process is moved to its current group, until another process moves it to another group.
func TestMoveOnTheSpot_EndsWhenMoved(t *testing.T) {
	own := groupsFile{make(chan string)}
	written, procs := io.Pipe()
	moved := make(chan struct{})
	go func() { // ends when the group changes
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
		t.Fatal("moveOnTheSpot did not end after the move")
	}
}

// A process that was moved before the first move is not moved back.
func TestMoveOnTheSpot_MovedBefore(t *testing.T) {
	own := groupsFile{make(chan string, 1)}
	own.content <- "0::/elsewhere"
	var procs strings.Builder
	moveOnTheSpot("0::/nomad", own, &procs, nil)
	must.Eq(t, "", procs.String())
}

// Expecting moves does not move this process.
func TestMoves_Expect(t *testing.T) {
	before, err := os.ReadFile("/proc/self/cgroup")
	must.NoError(t, err)
	var m Moves
	first, second := m.Expect(), m.Expect()
	first()
	must.Eq(t, 1, m.expected)
	select {
	case <-m.none:
		t.Fatal("Expect ended with a call outstanding")
	default:
	}
	second()
	<-m.none
	m.Expect()() // can be expected again
	after, err := os.ReadFile("/proc/self/cgroup")
	must.NoError(t, err)
	must.Eq(t, string(before), string(after))
}

// TestProcsFile checks that any hierarchy is accepted, but only a group that contains this process.
func TestProcsFile(t *testing.T) {
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
