package driver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
	"github.com/nomad-sidecar/nomad-sidecar/driver/metrics"
	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
)

// observer counts the actions of the pod manager.
type observer struct {
	*metrics.Metrics
	began time.Time // of this process
}

var _ pod.Observer = observer{}

// Exited counts an end, unless an earlier process has seen it.
func (o observer) Exited(e pod.Exit) {
	switch {
	case e.At.Before(o.began):
	case e.OOMKilled:
		o.Exit(metrics.ExitOOM)
	case e.Err != nil:
		o.Exit(metrics.ExitUnknown)
	case e.Code != 0:
		o.Exit(metrics.ExitFailed)
	default:
		o.Exit(metrics.ExitDone)
	}
}

func (o observer) Pulled(registry string, bytes int64, took time.Duration, err error) {
	o.Pull(registry, bytes, took, err)
}

func (o observer) ImageRemoved(why image.Reason) { o.Removed(string(why)) }

func (o observer) NotAlive()    { o.Count(metrics.LivenessFailures, 1) }
func (o observer) PartnerLost() { o.Count(metrics.PartnerStops, 1) }
func (o observer) Swept()       { o.Count(metrics.SweptLeftovers, 1) }

// resultOf returns the result of a start or recovery.
func resultOf(err error) string {
	switch {
	case err == nil:
		return metrics.ResultOK
	case recoverable(err):
		return metrics.ResultFailed
	}
	return metrics.ResultInvalid
}

// logCountsTimeout is how long a scrape waits for the log collector.
const logCountsTimeout = time.Second

// metricsState returns what each scrape reports.
func (d *Driver) metricsState() metrics.State {
	m := d.pods()
	if m == nil {
		return metrics.State{}
	}
	ctx, cancel := context.WithTimeout(d.ctx, logCountsTimeout)
	defer cancel()
	pods, tasks := m.Size()
	n := m.LogCounts(ctx)
	now := metrics.State{Pods: pods, Tasks: tasks, Logs: metrics.Logs{
		Bytes: n.Bytes, Stalls: n.Stalls, DroppedBytes: n.Dropped, IndexDropped: n.IndexDropped,
	}}
	if u, ok := m.ImageUsage(); ok {
		now.Images = &metrics.Images{Bytes: u.ImageBytes, DiskBytes: u.DiskBytes, DiskFreeBytes: u.DiskFreeBytes}
	}
	return now
}

func (c MetricsConfig) check() error {
	var errs []error
	if c.Address != "" {
		if err := metrics.CheckAddress(c.Address); err != nil {
			errs = append(errs, fmt.Errorf("metrics.address = %q: %w", c.Address, err))
		}
	}
	if c.Textfile != "" && (!filepath.IsAbs(c.Textfile) || filepath.Ext(c.Textfile) != ".prom") {
		errs = append(errs, fmt.Errorf("metrics.textfile = %q: want an absolute path that ends in .prom, which node_exporter reads", c.Textfile))
	}
	return errors.Join(errs...)
}

// textfilePeriod is how often the text file is written. Prometheus usually scrapes every 15 to 60
// seconds.
const textfilePeriod = 15 * time.Second

// publish makes the metrics available as the operator's config says, until the driver is closed.
// It is called again and again: an error, such as a port in use, may pass.
func (d *Driver) publish() error {
	c := d.currentSettings().Metrics
	d.beginning.Lock()
	defer d.beginning.Unlock()
	if err := d.ctx.Err(); err != nil {
		return err
	}
	if c.Address != "" && !d.serving {
		l, err := d.listen(c.Address)
		if err != nil {
			return fmt.Errorf("metrics.address = %q: %w", c.Address, err)
		}
		d.serving = true
		d.background.Go(func() { // ends with the driver
			if err := d.metrics.Serve(d.ctx, l); err != nil {
				d.log.Error("metrics are not served", "address", c.Address, "error", err)
			}
			d.beginning.Lock()
			defer d.beginning.Unlock()
			d.serving = false
		})
	}
	if c.Textfile == "" || d.writing {
		return nil
	}
	if err := d.writeMetrics(c.Textfile); err != nil {
		return fmt.Errorf("metrics.textfile = %q: %w", c.Textfile, err)
	}
	d.writing = true
	d.background.Go(func() { d.keepWriting(c.Textfile) })
	return nil
}

// listen opens an address. Only root may be able to replace a socket.
func (d *Driver) listen(address string) (net.Listener, error) {
	if path, ok := metrics.SocketPath(address); ok {
		if err := checkPlace(path); err != nil {
			return nil, err
		}
	}
	return metrics.Listen(address)
}

// writeMetrics writes the text file into a directory that only root can write to.
func (d *Driver) writeMetrics(path string) error {
	if err := checkPlace(path); err != nil {
		return err
	}
	return d.metrics.WriteFile(path)
}

// checkPlace checks that only root can create or replace a file.
func checkPlace(path string) error {
	if _, err := trustedPath(path); err != nil {
		return err
	}
	return checkParent(filepath.Dir(path))
}

// keepWriting writes the text file until the driver is closed.
func (d *Driver) keepWriting(path string) {
	tick := time.NewTicker(textfilePeriod)
	defer tick.Stop()
	for {
		select {
		case <-d.ctx.Done():
			return
		case <-tick.C:
		}
		if err := d.writeMetrics(path); err != nil {
			d.log.Error("metrics were not written", "path", path, "error", err)
		}
	}
}
