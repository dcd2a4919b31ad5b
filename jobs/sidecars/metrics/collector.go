package main

import (
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/procfs"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/sidecars/metrics/usage"
)

// collector reads the pod at each scrape. It is safe for concurrent use.
type collector struct {
	mu    sync.Mutex
	meter *usage.Meter
	proc  procfs.FS

	info, cpu *prometheus.Desc
	tasks     []taskMetric
	network   []networkMetric
}

// taskMetric is one metric of a task; ok is false if there is no value.
type taskMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(usage.Task) (value float64, ok bool)
}

// networkMetric is one metric of a network interface of the pod.
type networkMetric struct {
	desc  *prometheus.Desc
	value func(procfs.NetDevLine) uint64
}

func newCollector(procDir string, meter *usage.Meter, pod prometheus.Labels) (*collector, error) {
	proc, err := procfs.NewFS(procDir)
	if err != nil {
		return nil, fmt.Errorf("open the proc file system: %w", err)
	}
	return &collector{
		meter: meter, proc: proc, tasks: taskMetrics(), network: networkMetrics(),
		info: prometheus.NewDesc("pod_info", "Labels that identify the pod; always 1.", nil, pod),
		cpu: prometheus.NewDesc("pod_task_cpu_seconds_total",
			"CPU time of the task's processes, including observed processes that have ended.", []string{"task", "mode"}, nil),
	}, nil
}

func taskMetrics() []taskMetric {
	gauge := func(name, help string, value func(usage.Task) (float64, bool)) taskMetric {
		return taskMetric{prometheus.NewDesc("pod_task_"+name, help, []string{"task"}, nil), prometheus.GaugeValue, value}
	}
	restarts := gauge("restarts_total", "Observed restarts of the task.",
		func(t usage.Task) (float64, bool) { return float64(t.Restarts), true })
	restarts.kind = prometheus.CounterValue
	return []taskMetric{
		restarts,
		gauge("memory_resident_bytes", "Resident memory of the task's processes; shared memory counts once per process.",
			func(t usage.Task) (float64, bool) { return float64(t.ResidentBytes), true }),
		gauge("memory_anonymous_bytes", "Resident memory of the task's processes that is not backed by a file.",
			func(t usage.Task) (float64, bool) { return float64(t.AnonymousBytes), true }),
		gauge("memory_swap_bytes", "Swapped memory of the task's processes.",
			func(t usage.Task) (float64, bool) { return float64(t.SwapBytes), true }),
		gauge("processes", "Processes of the task.",
			func(t usage.Task) (float64, bool) { return float64(t.Processes), true }),
		gauge("threads", "Threads of the task's processes.",
			func(t usage.Task) (float64, bool) { return float64(t.Threads), true }),
		gauge("open_fds", "Open file descriptors of the task's processes; omitted if a process is unreadable.",
			func(t usage.Task) (float64, bool) { return float64(t.OpenFDs), t.OpenFDs >= 0 }),
		gauge("start_time_seconds", "When the task's first process started, since the epoch.",
			func(t usage.Task) (float64, bool) {
				return float64(t.Started.UnixMilli()) / float64(time.Second/time.Millisecond), !t.Started.IsZero()
			}),
	}
}

func networkMetrics() []networkMetric {
	counter := func(name, help string, value func(procfs.NetDevLine) uint64) networkMetric {
		return networkMetric{prometheus.NewDesc("pod_network_"+name+"_total", help, []string{"device"}, nil), value}
	}
	return []networkMetric{
		counter("receive_bytes", "Bytes received.", func(d procfs.NetDevLine) uint64 { return d.RxBytes }),
		counter("receive_packets", "Packets received.", func(d procfs.NetDevLine) uint64 { return d.RxPackets }),
		counter("receive_errors", "Packets received with errors.", func(d procfs.NetDevLine) uint64 { return d.RxErrors }),
		counter("receive_drops", "Packets dropped while receiving.", func(d procfs.NetDevLine) uint64 { return d.RxDropped }),
		counter("transmit_bytes", "Bytes sent.", func(d procfs.NetDevLine) uint64 { return d.TxBytes }),
		counter("transmit_packets", "Packets sent.", func(d procfs.NetDevLine) uint64 { return d.TxPackets }),
		counter("transmit_errors", "Packets not sent because of errors.", func(d procfs.NetDevLine) uint64 { return d.TxErrors }),
		counter("transmit_drops", "Packets dropped while sending.", func(d procfs.NetDevLine) uint64 { return d.TxDropped }),
	}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(descs chan<- *prometheus.Desc) {
	descs <- c.info
	descs <- c.cpu
	for _, m := range c.tasks {
		descs <- m.desc
	}
	for _, m := range c.network {
		descs <- m.desc
	}
}

// Collect implements prometheus.Collector. A read error fails the scrape.
func (c *collector) Collect(metrics chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	tasks, err := c.meter.Read()
	if err != nil {
		metrics <- prometheus.NewInvalidMetric(c.cpu, err)
		return
	}
	// /proc/net is the reader's network namespace, which is the pod's.
	devices, err := c.proc.NetDev()
	if err != nil {
		metrics <- prometheus.NewInvalidMetric(c.network[0].desc, fmt.Errorf("read the network interfaces: %w", err))
		return
	}
	metrics <- prometheus.MustNewConstMetric(c.info, prometheus.GaugeValue, 1)
	for _, t := range tasks {
		metrics <- prometheus.MustNewConstMetric(c.cpu, prometheus.CounterValue, t.User.Seconds(), t.Name, "user")
		metrics <- prometheus.MustNewConstMetric(c.cpu, prometheus.CounterValue, t.System.Seconds(), t.Name, "system")
		for _, m := range c.tasks {
			if value, ok := m.value(t); ok {
				metrics <- prometheus.MustNewConstMetric(m.desc, m.kind, value, t.Name)
			}
		}
	}
	for name, device := range devices {
		for _, m := range c.network {
			metrics <- prometheus.MustNewConstMetric(m.desc, prometheus.CounterValue, float64(m.value(device)), name)
		}
	}
}
