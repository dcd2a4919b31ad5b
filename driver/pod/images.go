package pod

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
)

// images opens the image store on first use, so that tasks that use host paths do
// not pay for it.
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

// imagesUsed reports whether this host has ever stored an image.
func (m *Manager) imagesUsed() bool {
	_, err := os.Stat(m.cfg.Images.Root)
	return err == nil
}

// collectImages removes unused images after their delay. One collection is pending
// at a time. It is requested when the manager starts and when a task that used an
// image is removed.
func (m *Manager) collectImages() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cfg.ImageGCDelay <= 0 || m.closed || m.collect != nil {
		return
	}
	// When the timer fires, an image that was released now has reached its delay.
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
	err = m.checkpoint("collect images", func() (err error) {
		removed, err = store.GC(ctx, m.cfg.ImageGCDelay)
		return err
	})
	if err != nil {
		m.cfg.Log.Error("collect images", "error", err)
	}
	m.cfg.Observer.ImagesRemoved(len(removed))
	for _, id := range removed {
		m.cfg.Log.Info("removed an image that no task uses", "image_id", id)
	}
}

// pull makes an image available and reports the progress in the task's events.
func (c *Container) pull(ctx context.Context, want Image) (image.Image, error) {
	store, err := c.m.images()
	if err != nil {
		return image.Image{}, err
	}
	var bytes int64
	fetched, report := false, c.progress(want.Reference)
	want.Pull.Progress = func(p image.Progress) {
		fetched, bytes = true, p.BytesTotal
		report(p)
	}
	begin := time.Now()
	img, err := store.Ensure(ctx, want.Reference, want.Pull)
	if fetched || err != nil {
		c.m.cfg.Observer.Pulled(want.Reference.Registry(), bytes, time.Since(begin), err)
	}
	return img, err
}

// progressPeriod is the minimum time between two events of a pull.
const progressPeriod = 2 * time.Second

// progress returns a function that sends events when a pull starts, while it runs
// and when it is done.
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
