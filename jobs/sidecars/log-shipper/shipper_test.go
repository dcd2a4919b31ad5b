package main

import (
	"context"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/internal/program/programtest"
	"github.com/nomad-sidecar/nomad-sidecar/jobs/sidecars/log-shipper/shippertest"
	"github.com/nomad-sidecar/nomad-sidecar/jobs/sidecars/log-shipper/sink"
)

// collector is a sink under test: its flags, and what arrived there.
type collector struct {
	flags []string
	lines func() []shippertest.Line
}

// collectors are one of each kind of sink.
func collectors(t *testing.T) map[string]collector {
	web := &shippertest.Receiver{}
	server := httptest.NewServer(web)
	t.Cleanup(server.Close)
	syslog := &shippertest.Receiver{}
	file := t.TempDir() + "/all.log"
	lines := func(read func() ([]shippertest.Line, error)) func() []shippertest.Line {
		return func() []shippertest.Line {
			all, err := read()
			must.NoError(t, err)
			return all
		}
	}
	return map[string]collector{
		"http":   {[]string{"-sink", server.URL}, lines(web.HTTPLines)},
		"syslog": {[]string{"-sink", "syslog+tcp://" + serveSyslog(t, syslog)}, lines(syslog.SyslogLines)},
		"file": {
			[]string{"-sink", "file://" + file, "-file-max-bytes", "40000", "-file-keep", "100"},
			lines(func() ([]shippertest.Line, error) { return shippertest.FromJSON(readFiles(t, file)) }),
		},
	}
}

// serveSyslog starts a receiver and gives its address.
func serveSyslog(t *testing.T, r *shippertest.Receiver) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must.NoError(t, err)
	var serving sync.WaitGroup
	serving.Go(func() { r.ServeSyslog(l) })
	t.Cleanup(func() {
		must.NoError(t, l.Close())
		serving.Wait()
	})
	return l.Addr().String()
}

// readFiles reads a file with the full ones before it, in the order they were
// written.
func readFiles(t *testing.T, path string) string {
	t.Helper()
	var text strings.Builder
	for n := 100; n > 0; n-- {
		text.WriteString(readFile(t, fmt.Sprintf("%s.%d", path, n)))
	}
	return text.String() + readFile(t, path)
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return ""
	}
	must.NoError(t, err)
	return string(data)
}

// wantCounted wants lines of each stream that count from 1 to n.
func wantCounted(t *testing.T, lines []shippertest.Line, n int, streams ...string) {
	t.Helper()
	want := map[string]int{}
	for _, stream := range streams {
		want[stream] = n
	}
	got, err := shippertest.Counted(lines)
	must.NoError(t, err)
	must.Eq(t, want, got)
}

// writeCounted writes lines that count, in pieces that end anywhere, and goes
// on to another file as Nomad does.
func writeCounted(p *pod, task, stream string, from, to, perFile int) {
	for i := from; i <= to; i++ {
		name := fmt.Sprintf("%s.%s.%d", task, stream, (i-1)/perFile)
		line := fmt.Sprintf("%d of %s on %s\n", i, task, stream)
		// A line may begin in one file and end in the next.
		if i%perFile == 0 {
			p.write(name, line[:len(line)/2])
			p.write(fmt.Sprintf("%s.%s.%d", task, stream, i/perFile), line[len(line)/2:])
			continue
		}
		p.write(name, line)
	}
}

// The shipper is killed again and again, while lines are written and files
// rotated: every line arrives, once, and in order, at each kind of sink.
func TestKilledAtAnyMoment(t *testing.T) {
	const n, kills = 1000, 4
	for name, c := range collectors(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPod(t, append(c.flags, "-batch-lines", "20", "-batch-wait", "0s")...)
			for round := range kills {
				s := p.start()
				before := len(c.lines())
				for _, stream := range []string{"stdout", "stderr"} {
					writeCounted(p, "app", stream, round*n/kills+1, (round+1)*n/kills, 100)
				}
				p.write("log-shipper.stderr.0", "its own\n")
				// It has hardly begun when it is killed.
				eventually(t, func() bool { return len(c.lines()) > before+round*20 })
				s.kill()
			}
			s := p.start()
			eventually(t, func() bool { return len(c.lines()) >= 2*n })
			s.stop()
			wantCounted(t, c.lines(), n, "app stdout", "app stderr")
		})
	}
}

// Told to stop, the shipper first ships all there is, and last the line that
// has no end.
func TestStopShipsTheRest(t *testing.T) {
	for name, c := range collectors(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPod(t, append(c.flags, "-batch-wait", "1h")...)
			s := p.start()
			writeCounted(p, "app", "stdout", 1, 500, 100)
			p.write("app.stdout.5", "501 without an end")
			s.stop()
			lines := c.lines()
			must.SliceLen(t, 501, lines)
			must.StrContains(t, lines[500].Message, "501 without an end")
			wantCounted(t, lines[:500], 500, "app stdout")

			p.write("app.stdout.5", "ing, after all\n502\n")
			p.start().stop()
			lines = c.lines()
			if name == "syslog" { // it shows pieces as they are
				must.Eq(t, shippertest.Line{Task: "app", Stream: "stdout-partial", Message: "501 without an end"}, lines[500])
				must.Eq(t, shippertest.Line{Task: "app", Stream: "stdout", Message: "ing, after all"}, lines[501])
			} else {
				must.Eq(t, shippertest.Line{Task: "app", Stream: "stdout", Message: "501 without an ending, after all"}, lines[500])
			}
			must.Eq(t, shippertest.Line{Task: "app", Stream: "stdout", Message: "502"}, lines[len(lines)-1])
		})
	}
}

func TestWhatIsShipped(t *testing.T) {
	file := t.TempDir() + "/all.log"
	p := newPod(t, "-sink", "file://"+file, "-exclude", "b", "-stream", "stdout")
	for _, task := range []string{"a", "b", "log-shipper", "odd name.stdout"} {
		p.write(task+".stdout.0", task+"\n")
		p.write(task+".stderr.0", task+"\n")
	}
	p.start().stop()
	lines, err := shippertest.FromJSON(readFile(t, file))
	must.NoError(t, err)
	must.Eq(t, []shippertest.Line{{Task: "a", Stream: "stdout", Message: "a"}, {Task: "odd name.stdout", Stream: "stdout", Message: "odd name.stdout"}}, lines)

	p.args = []string{"-sink", "file://" + file + ".2", "-state", t.TempDir(), "-task", "b", "-format", "text"}
	p.start().stop()
	must.StrContains(t, readFile(t, file+".2"), " b stdout F b\n")
	must.Eq(t, 2, strings.Count(readFile(t, file+".2"), "\n"))
}

// What the sink got before anything was committed is taken back as well.
func TestFirstBatchOfAFileIsTakenBack(t *testing.T) {
	file := t.TempDir() + "/all.log"
	must.NoError(t, os.WriteFile(file, []byte("before\n"), 0o600))
	p := newPod(t, "-sink", "file://"+file)
	s := p.open(&programtest.Output{})
	must.NoError(t, s.sink.Send(t.Context(), sink.Batch{Body: []byte("uncommitted\n")}))
	must.NoError(t, s.close())
	must.NoError(t, p.open(&programtest.Output{}).close())
	must.Eq(t, "before\n", readFile(t, file))
}

// A receiver that is away costs nothing but time, and at the end not more of
// that than Nomad gives.
func TestReceiverIsAway(t *testing.T) {
	p := newPod(t, "-sink", "http://127.0.0.1:1", "-batch-lines", "1")
	p.write("app.stdout.0", "1\n2\n")
	log := &programtest.Output{}
	s := p.open(log)
	defer func() { must.NoError(t, s.close()) }()
	s.times = times{poll: time.Millisecond, drain: 50 * time.Millisecond, firstTry: time.Millisecond, lastTry: 4 * time.Millisecond}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.run(ctx) }()
	eventually(t, func() bool { return strings.Count(log.String(), "not delivered") > 3 })
	cancel()
	must.ErrorContains(t, <-done, "stopped before batch 1 was delivered")
	must.Zero(t, s.journal.Lines())
}
