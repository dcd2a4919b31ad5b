package pod

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
)

// images opens the image store when it is first needed, so that tasks that
// use the host's paths do not pay for it.
func (m *Manager) images() (*image.Store, error) {
	m.storeMu.Lock()
	defer m.storeMu.Unlock()
	if m.store == nil {
		s, err := image.Open(m.cfg.Images)
		if err != nil {
			return nil, err
		}
		m.store = s
	}
	return m.store, nil
}

// imagesUsed tells whether there ever was an image on this host.
func (m *Manager) imagesUsed() bool {
	_, err := os.Stat(m.cfg.Images.Root)
	return err == nil
}

// collectImages has unused images removed when their time is over. One
// collection waits at a time; it is asked for when a task that used an image
// is gone, and when the manager begins.
func (m *Manager) collectImages() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cfg.ImageGCDelay <= 0 || m.closed || m.collect != nil {
		return
	}
	// An image that came free now is old enough then, and not a moment before.
	const slack = 100 * time.Millisecond
	m.background.Add(1)
	m.collect = time.AfterFunc(m.cfg.ImageGCDelay+slack, func() {
		defer m.background.Done()
		m.mu.Lock()
		m.collect = nil
		m.mu.Unlock()
		m.collectNow()
	})
}

func (m *Manager) collectNow() {
	store, err := m.images()
	if err != nil {
		m.cfg.Log.Error("collect images", "error", err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), m.cfg.TeardownTimeout)
	defer cancel()
	var removed []string
	err = m.step("collect images", func() (err error) {
		removed, err = store.GC(ctx, m.cfg.ImageGCDelay)
		return err
	})
	if err != nil {
		m.cfg.Log.Error("collect images", "error", err)
	}
	for _, id := range removed {
		m.cfg.Log.Info("removed an image that no task uses", "image_id", id)
	}
}

// pull makes an image available, and tells of it in the task's events.
func (c *Container) pull(ctx context.Context, want Image) (image.Image, error) {
	store, err := c.m.images()
	if err != nil {
		return image.Image{}, err
	}
	want.Pull.Progress = c.progress(want.Reference)
	return store.Ensure(ctx, want.Reference, want.Pull)
}

// progressPeriod is the least time between two events about one pull.
const progressPeriod = 2 * time.Second

// progress tells how a pull goes in the task's events: that it began, how far
// it is now and then, and that it is done.
func (c *Container) progress(ref image.Reference) func(image.Progress) {
	var last time.Time
	return func(p image.Progress) {
		now := time.Now()
		switch done := p.LayersTotal > 0 && p.LayersDone == p.LayersTotal; {
		case last.IsZero():
			c.event(fmt.Sprintf("Pulling image %s: %s in %d layers", ref, mebibytes(p.BytesTotal), p.LayersTotal))
		case done || now.Sub(last) >= progressPeriod:
			c.event(fmt.Sprintf("Pulling image %s: %s of %s, %d of %d layers",
				ref, mebibytes(p.BytesDone), mebibytes(p.BytesTotal), p.LayersDone, p.LayersTotal))
		default:
			return
		}
		last = now
	}
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
