package pod

import (
	"context"
	"errors"
	"time"

	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
)

// diskPeriod is how often the file system of the images is measured.
const diskPeriod = 10 * time.Second

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
		m.withImages(func(ctx context.Context, store *image.Store) error {
			return m.checkpoint("collect images", func() error {
				_, err := store.GC(ctx, m.cfg.ImageGCDelay)
				return err
			})
		})
	})
}

// withImages calls f with the image store and logs the error.
func (m *Manager) withImages(f func(context.Context, *image.Store) error) {
	store, err := m.images()
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), m.cfg.TeardownTimeout)
		defer cancel()
		err = f(ctx, store)
	}
	if err != nil {
		m.cfg.Log.Error("collect images", "error", err)
	}
}

// imageRemoved is called by the image store.
func (m *Manager) imageRemoved(id string, why image.Reason) {
	m.cfg.Observer.ImageRemoved(why)
	m.cfg.Log.Info("removed an image that no task uses", "image_id", id, "reason", why)
}

// watchDisk measures the image store and its file system, and makes room, until the manager is
// closed. Pulls make room too, but other files also fill the disk.
func (m *Manager) watchDisk() {
	tick := time.NewTicker(diskPeriod)
	defer tick.Stop()
	full := false // already logged
	for {
		if m.imagesUsed() {
			m.withImages(func(ctx context.Context, store *image.Store) error { return m.measure(ctx, store, &full) })
		}
		select {
		case <-m.closing:
			return
		case <-tick.C:
		}
	}
}

func (m *Manager) measure(ctx context.Context, store *image.Store, full *bool) error {
	_, err := store.MakeRoom(ctx)
	again := errors.Is(err, image.ErrFull)
	if again && *full {
		err = nil
	}
	*full = again
	usage, uerr := store.Usage(ctx)
	if uerr == nil {
		m.imageUsage.Store(&usage)
	}
	return errors.Join(err, uerr)
}

// ImageUsage returns the size of the image store when it was last measured. It does not wait for the
// store, which a pull may lock.
func (m *Manager) ImageUsage() (u image.Usage, ok bool) {
	if last := m.imageUsage.Load(); last != nil {
		return *last, true
	}
	return image.Usage{}, false
}
