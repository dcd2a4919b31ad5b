// Package metrics counts the actions of the driver on a node, in the Prometheus format.
//
// No metric has a label from a job, such as an allocation or a task, so that their number does not
// grow; the host name of a registry is the exception, and limited. The package measures no resource
// usage of tasks: Nomad and the sidecar "metrics" do.
package metrics

import (
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const namespace = "nomad_driver_pod"

// Results of starts and recoveries.
const (
	ResultOK = "ok"
	// ResultInvalid is an error that only a change of the job, the image or the plugin's
	// configuration fixes.
	ResultInvalid = "invalid"
	// ResultFailed is an error that may resolve itself.
	ResultFailed = "failed"
)

// Metrics are the metrics of one driver. Its methods may be called concurrently.
type Metrics struct {
	registry *prometheus.Registry

	starts     *prometheus.CounterVec
	phases     *prometheus.HistogramVec
	recoveries *prometheus.CounterVec
	exits      *prometheus.CounterVec
	counts     map[Counted]prometheus.Counter
	pulls      *prometheus.CounterVec
	removed    *prometheus.CounterVec
	pullTime   prometheus.Histogram

	mu         sync.Mutex
	registries map[string]bool // that have a label of their own
}

// Counted is something that is only counted.
type Counted string

// Things that are only counted.
const (
	LivenessFailures Counted = "liveness_failures_total"
	PartnerStops     Counted = "restart_with_stops_total"
	SweptLeftovers   Counted = "swept_leftovers_total"
	PulledBytes      Counted = "image_pull_bytes_total"
)

// help explains the counters of Counted.
var help = map[Counted]string{
	LivenessFailures: "Tasks that the driver stopped because their liveness check failed.",
	PartnerStops:     "Tasks that the driver stopped because a task in their restart_with ended.",
	SweptLeftovers:   "Roots, layers and tasks of earlier processes that the driver removed.",
	PulledBytes:      "Compressed size of the images that were pulled, with layers that were already stored.",
}

// State is the present state of a node, read for each scrape.
type State struct {
	Pods, Tasks int     // on the node
	Images      *Images // nil if unknown
	Logs        Logs
}

// Images is the size of the image store.
type Images struct {
	Bytes                    int64  // of the layers of all images
	DiskBytes, DiskFreeBytes uint64 // of its file system
}

// Logs are totals of the log collector.
type Logs struct{ Bytes, Stalls, DroppedBytes, IndexDropped int64 }

// New returns the metrics of a driver of the given version. state is called for each scrape.
func New(version string, state func() State) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), counts: map[Counted]prometheus.Counter{}, registries: map[string]bool{}}
	counters := func(name, text string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: text}, labels)
		m.registry.MustRegister(c)
		return c
	}
	m.starts = counters("task_starts_total", "Starts of tasks by result.", "result")
	m.recoveries = counters("task_recoveries_total", "Tasks that a new driver process took over, by result.", "result")
	m.exits = counters("task_exits_total", "Ends of tasks by kind.", "kind")
	m.pulls = counters("image_pulls_total", "Images that were fetched, by registry and result.", "registry", "result")
	m.removed = counters("images_removed_total", "Unused images that the driver removed: unused for longer than gc_delay, or because the disk was fuller than gc_high.", "reason")
	for what, text := range help {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: string(what), Help: text})
		m.registry.MustRegister(c)
		m.counts[what] = c
	}
	m.phases = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: namespace, Name: "task_start_phase_seconds", Help: "Duration of the phases of successful starts.",
		Buckets: []float64{.001, .003, .01, .03, .1, .3, 1, 3, 10, 30, 100},
	}, []string{"phase"})
	m.pullTime = prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: namespace, Name: "image_pull_seconds", Help: "Duration of pulls that fetched an image.",
		Buckets: []float64{.1, .3, 1, 3, 10, 30, 100, 300},
	})
	m.registry.MustRegister(m.phases, m.pullTime, newStateCollector(version, state))
	// Rates need the first increment, so the common series exist from the beginning.
	for _, result := range []string{ResultOK, ResultInvalid, ResultFailed} {
		m.starts.WithLabelValues(result)
	}
	for _, reason := range []string{"unused", "disk"} {
		m.removed.WithLabelValues(reason)
	}
	for _, result := range []string{ResultOK, ResultFailed} {
		m.recoveries.WithLabelValues(result)
	}
	for _, kind := range exitKinds() {
		m.exits.WithLabelValues(kind)
	}
	return m
}

// Start counts the start of a task.
func (m *Metrics) Start(result string) { m.starts.WithLabelValues(result).Inc() }

// Phase records the duration of a phase of a start. The names come from the driver.
func (m *Metrics) Phase(name string, took time.Duration) {
	m.phases.WithLabelValues(name).Observe(took.Seconds())
}

// Recovery counts a task that this process took over, or failed to.
func (m *Metrics) Recovery(result string) { m.recoveries.WithLabelValues(result).Inc() }

// Count adds to a counter.
func (m *Metrics) Count(what Counted, n int64) {
	if c := m.counts[what]; c != nil {
		c.Add(float64(max(n, 0)))
	}
}

// Removed counts the removal of an image.
func (m *Metrics) Removed(reason string) { m.removed.WithLabelValues(reason).Inc() }

// Kinds of ends.
const (
	ExitDone    = "done"    // exit code 0
	ExitFailed  = "failed"  // another exit code, or a signal
	ExitOOM     = "oom"     // the task exceeded its memory
	ExitUnknown = "unknown" // its exit status was lost, or the driver stopped it
)

func exitKinds() []string { return []string{ExitDone, ExitFailed, ExitOOM, ExitUnknown} }

// Exit counts the end of a task.
func (m *Metrics) Exit(kind string) { m.exits.WithLabelValues(kind).Inc() }

const (
	// maxRegistries limits the registries with a label of their own: jobs choose the names.
	maxRegistries  = 20
	otherRegistry  = "other"
	localDirectory = "path" // an image at a path of this host
)

// Pull counts the fetch of an image from a registry, or from a path if registry is empty.
func (m *Metrics) Pull(registry string, bytes int64, took time.Duration, err error) {
	result := ResultOK
	if err != nil {
		result = ResultFailed
	} else {
		m.Count(PulledBytes, bytes)
		m.pullTime.Observe(took.Seconds())
	}
	m.pulls.WithLabelValues(m.labelOf(registry), result).Inc()
}

func (m *Metrics) labelOf(registry string) string {
	const maxName = 253 // of a host name
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case registry == "":
		return localDirectory
	case m.registries[registry]:
		return registry
	case len(m.registries) >= maxRegistries || len(registry) > maxName:
		return otherRegistry
	}
	m.registries[registry] = true
	return registry
}

// stateCollector reports the State when it is scraped.
type stateCollector struct {
	state   func() State
	version string

	pods, tasks, info *prometheus.Desc
	images            [3]*prometheus.Desc // as the fields of Images
	logs              [4]*prometheus.Desc // as the fields of Logs
}

func newStateCollector(version string, state func() State) *stateCollector {
	desc := func(name, text string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(namespace+"_"+name, text, labels, nil)
	}
	return &stateCollector{state: state, version: version,
		pods: desc("pods", "Pods on this node."), tasks: desc("tasks", "Tasks on this node, running or not removed yet."),
		info: desc("info", "Always 1, with the driver's version.", "version"),
		images: [...]*prometheus.Desc{
			desc("image_store_bytes", "Unpacked size of the layers of all images of the store."),
			desc("image_store_disk_bytes", "Size of the file system of the image store."),
			desc("image_store_disk_free_bytes", "Free space of the file system of the image store."),
		},
		logs: [...]*prometheus.Desc{
			desc("log_bytes_total", "Output of tasks that was written to their log files."),
			desc("log_stalls_total", "Times that a task was blocked since its output could not be written."),
			desc("log_dropped_bytes_total", "Output of tasks that was dropped after a stall."),
			desc("log_index_dropped_total", "Log files that were not linked in the log index when they were created."),
		},
	}
}

// Describe implements prometheus.Collector.
func (s *stateCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range slices.Concat([]*prometheus.Desc{s.pods, s.tasks, s.info}, s.images[:], s.logs[:]) {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (s *stateCollector) Collect(ch chan<- prometheus.Metric) {
	now := s.state()
	ch <- prometheus.MustNewConstMetric(s.pods, prometheus.GaugeValue, float64(now.Pods))
	ch <- prometheus.MustNewConstMetric(s.tasks, prometheus.GaugeValue, float64(now.Tasks))
	ch <- prometheus.MustNewConstMetric(s.info, prometheus.GaugeValue, 1, s.version)
	for i, n := range []int64{now.Logs.Bytes, now.Logs.Stalls, now.Logs.DroppedBytes, now.Logs.IndexDropped} {
		ch <- prometheus.MustNewConstMetric(s.logs[i], prometheus.CounterValue, float64(n))
	}
	if now.Images == nil {
		return
	}
	for i, bytes := range []float64{float64(now.Images.Bytes), float64(now.Images.DiskBytes), float64(now.Images.DiskFreeBytes)} {
		ch <- prometheus.MustNewConstMetric(s.images[i], prometheus.GaugeValue, bytes)
	}
}
