package main

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"
)

func sample() report {
	run := func(name string, tasks int, start time.Duration, mebibytes float64) result {
		return result{name: name, tasks: tasks, start: start, stop: start / 2, memory: mebibytes * (1 << 20), cpu: -1}
	}
	slow := run("slow & large", 2, 300*time.Millisecond, 30)
	slow.cpu = 0.25
	return report{
		results: []result{
			run("pod", 2, 900*time.Millisecond, 9), run("pod", 2, 100*time.Millisecond, 10), run("pod", 2, 90*time.Millisecond, 12),
			slow, run("pod", 10, 400*time.Millisecond, 2),
		},
		left:    []string{"another: it is not there"},
		machine: []string{"a machine"},
	}
}

func TestMarkdown_MediansAndRatios(t *testing.T) {
	text := sample().markdown()
	for _, line := range []string{
		"| tasks | pod | slow & large |\n|---:|---:|---:|\n| 2 | 100 | 300 (3.0×) |\n| 10 | 400 | – |\n", // started
		"| 2 | 10.0 | 30.0 (3.0×) |\n| 10 | 2.0 | – |\n",                                                 // memory
		"| 2 | – | 25.0 |\n", // idle: no ratio for a single value
		"Medians: 2 tasks 3 times, 10 tasks once, slow & large once. ",
		"- a machine\n- left out: another: it is not there\n",
	} {
		must.StrContains(t, text, line)
	}
}

func TestSVG_WellFormed(t *testing.T) {
	text := sample().svg()
	decoder := xml.NewDecoder(strings.NewReader(text))
	bars := 0
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		must.NoError(t, err)
		if element, ok := token.(xml.StartElement); ok && element.Name.Local == "rect" {
			bars++
		}
	}
	must.Eq(t, 6, bars) // two metrics and two sizes, one without the slow contestant
	must.StrContains(t, text, "slow &amp; large")
}

// An outlier is cut off, so that the other bars stay visible.
func TestSVG_Outlier(t *testing.T) {
	r := sample()
	must.StrNotContains(t, r.svg(), "cut off")
	for _, name := range []string{"third", "fourth"} {
		must.StrNotContains(t, r.svg(), "cut off") // with few values the outlier matters most
		r.results = append(r.results, result{name: name, tasks: 2, start: 10 * time.Millisecond, memory: 1 << 20, cpu: -1})
	}
	r.results[len(r.results)-1].start = 10 * time.Second
	text := r.svg()
	must.StrContains(t, text, `>10000 (cut off)<`)
	must.StrContains(t, text, `width="167"`) // the pod's 100 of 300 ms
	must.Eq(t, 1, strings.Count(text, "cut off"))
}

func TestMedian(t *testing.T) {
	must.Eq(t, 0, median([]float64{}))
	must.Eq(t, 2, median([]float64{3, 1, 2}))
	must.Eq(t, 3, median([]float64{4, 1, 3, 2}))
}

func TestReadTrace_Log(t *testing.T) {
	got, err := readTrace(strings.NewReader(`2026-01-01T00:00:00.000Z [DEBUG] client: other
2026-01-01T00:00:00.000Z [TRACE] client.driver_mgr.nomad-driver-pod.pod: started: driver=pod start_phases="join:1ms,create:20ms,+root:5ms" task_id=a timestamp=x
2026-01-01T00:00:00.000Z [TRACE] client.driver_mgr.nomad-driver-pod.pod: started: driver=pod start_phases=join:3ms,create:30ms,+root:6ms
2026-01-01T00:00:00.000Z [TRACE] client.driver_mgr.nomad-driver-pod.pod: started: driver=pod start_phases="join:800µs,create:40ms,+root:7ms"
`))
	must.NoError(t, err)
	must.Eq(t, []string{"join", "create", "+root"}, got.names)
	must.Eq(t, "  join           1.00 ms\n  create        30.00 ms\n  +root          6.00 ms\n  all           33.00 ms\n", got.String())
	_, err = readTrace(strings.NewReader("start_phases=join\n"))
	must.ErrorContains(t, err, `phase "join"`)
}
