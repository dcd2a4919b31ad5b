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

// pull makes an image available, holds it, and reports the progress to event.
func (m *Manager) pull(ctx context.Context, want Image, event func(string), images *imagesOf) (image.Image, error) {
	store, err := m.images()
	if err != nil {
		return image.Image{}, err
	}
	var bytes int64
	fetched, report := false, progress(want.Reference, event)
	want.Pull.Progress = func(p image.Progress) {
		fetched, bytes = true, p.BytesTotal
		report(p)
	}
	begin := time.Now()
	img, err := store.Ensure(ctx, want.Reference, want.Pull)
	if fetched || err != nil {
		m.cfg.Observer.Pulled(want.Reference.Registry(), bytes, time.Since(begin), err)
	}
	if err == nil {
		images.holds = append(images.holds, store.Hold(img.ID))
	}
	return img, err
}

// reservation is how long images that were pulled in advance are kept although no task uses them
// yet: a deployment reaches them later.
const reservation = time.Hour

// Pull makes the images of a task available without starting it.
func (m *Manager) Pull(ctx context.Context, t Task) error {
	m.sweepOnce()
	for _, path := range []string{t.StdoutHostPath, t.StderrHostPath} {
		// Nomad's log collector waits for a first writer, even when it is stopped.
		fifo, err := openLog(t.AllocDirHostPath, path)
		if err != nil {
			return err
		}
		defer fifo.Close()
	}
	images, err := m.pulled(ctx, t, func(message string) { m.cfg.Event(t.ID, t.AllocID, t.Name, message) })
	defer images.release()
	if err != nil {
		return err
	}
	store, err := m.images()
	if err != nil {
		return err
	}
	for _, img := range append(images.mounts, images.root) {
		store.Reserve(img.ID, reservation)
	}
	m.collectImages()
	return nil
}

// progressPeriod is the minimum time between two events of a pull.
const progressPeriod = 2 * time.Second

// progress returns a function that calls event when a pull starts, while it runs
// and when it is done.
func progress(ref image.Reference, event func(string)) func(image.Progress) {
	var last time.Time
	return func(p image.Progress) {
		now := time.Now()
		switch done := p.LayersTotal > 0 && p.LayersDone == p.LayersTotal; {
		case last.IsZero():
			event(fmt.Sprintf("Pulling image %s: %s in %d layers", ref, mebibytes(p.BytesTotal), p.LayersTotal))
		case done || now.Sub(last) >= progressPeriod:
			event(fmt.Sprintf("Pulling image %s: %s of %s, %d of %d layers",
				ref, mebibytes(p.BytesDone), mebibytes(p.BytesTotal), p.LayersDone, p.LayersTotal))
		default:
			return
		}
		last = now
	}
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
