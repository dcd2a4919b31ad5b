package driver

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"
	pstructs "github.com/hashicorp/nomad/plugins/shared/structs"

	"github.com/nomad-sidecar/nomad-sidecar/driver/bounds"
)

// fingerprintPeriod is how often the fingerprint is sent to Nomad.
const fingerprintPeriod = 30 * time.Second

// Fingerprint reports whether pods can run here, and with which runtime, now and
// periodically until ctx ends. Nomad starts several plugin processes, but
// fingerprints only the one that runs tasks. So Fingerprint also removes the remains of
// an earlier process, even if no task is ever started.
func (d *Driver) Fingerprint(ctx context.Context) (<-chan *drivers.Fingerprint, error) {
	d.beginning.Lock()
	defer d.beginning.Unlock()
	if err := d.ctx.Err(); err != nil { // after Close, which would not wait
		return nil, err
	}
	ch := make(chan *drivers.Fingerprint)
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(d.ctx, cancel)
	d.background.Go(func() { // ends with ctx, which is the plugin client's, or with the driver
		defer close(ch)
		defer cancel()
		defer stop()
		d.keepFingerprinting(ctx, ch)
	})
	return ch, nil
}

func (d *Driver) keepFingerprinting(ctx context.Context, ch chan<- *drivers.Fingerprint) {
	tick := time.NewTicker(fingerprintPeriod)
	defer tick.Stop()
	for {
		h, err := d.probedHost(ctx)
		var index string
		if err == nil {
			var ierr error
			index, ierr = d.currentSettings().logIndex()
			err = errors.Join(d.publish(), d.currentSettings().Image.checkStores(), ierr)
		}
		fp := fingerprint(ctx, h, err)
		if err == nil {
			d.describeIndex(fp, index)
		}
		select {
		case ch <- fp:
		case <-ctx.Done():
			return
		}
		if err == nil {
			d.sweep(index)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// sweep removes the remains of an earlier plugin process, in the first call, and of allocations that
// are gone from the log index.
func (d *Driver) sweep(index string) {
	m, _, err := d.manager()
	if err != nil { // there is no host to sweep
		return
	}
	m.Sweep()
	if index != "" {
		m.SweepLogIndex(index)
	}
}

func fingerprint(ctx context.Context, h *host, err error) *drivers.Fingerprint {
	if err != nil {
		return &drivers.Fingerprint{
			Attributes:        map[string]*pstructs.Attribute{},
			Health:            drivers.HealthStateUnhealthy,
			HealthDescription: oneLine(err),
		}
	}
	fp := &drivers.Fingerprint{
		Attributes: map[string]*pstructs.Attribute{
			"driver.pod":                 pstructs.NewBoolAttribute(true),
			"driver.pod.version":         pstructs.NewStringAttribute(Version),
			"driver.pod.runtime":         pstructs.NewStringAttribute(h.runtime.Name()),
			"driver.pod.runtime.version": pstructs.NewStringAttribute(h.runtimeVersion),
			"driver.pod.conmon.version":  pstructs.NewStringAttribute(h.monitorVersion),
			"driver.pod.cgroups":         pstructs.NewStringAttribute(string(h.cgroups)),
			"driver.pod.apparmor":        pstructs.NewStringAttribute(firstNonEmpty(h.profile, "none")),
		},
		Health:            drivers.HealthStateHealthy,
		HealthDescription: drivers.DriverHealthy,
	}
	fp.Attributes["driver.pod.userns"] = pstructs.NewBoolAttribute(h.userns && h.noUserns == nil)
	if Commit != "" {
		fp.Attributes["driver.pod.commit"] = pstructs.NewStringAttribute(Commit)
	}
	if h.passedOver != "" {
		fp.HealthDescription = "Healthy with " + h.runtime.Name() + ": " + h.passedOver
	}
	if h.gvisor != nil {
		describeGvisor(ctx, fp, h.gvisor)
	}
	if h.noUserns != nil {
		fp.HealthDescription += "; userns = \"auto\" is refused: " + oneLine(h.noUserns)
	}
	if h.unprotected != "" {
		fp.HealthDescription += "; " + h.unprotected
	}
	return fp
}

// describeGvisor adds whether tasks may name runsc, which does not affect others.
func describeGvisor(ctx context.Context, fp *drivers.Fingerprint, p *gvisorProbe) {
	version, err := p.result(ctx)
	fp.Attributes["driver.pod.runtime.runsc"] = pstructs.NewBoolAttribute(err == nil)
	fp.Attributes["driver.pod.runtime.runsc.version"] = pstructs.NewStringAttribute(version)
	if err != nil {
		fp.HealthDescription += "; runtime = \"runsc\" is refused: " + bounds.Text(err.Error())
	}
}
