package pod

import (
	"time"

	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
)

// Observer is informed about a manager's actions, for the operator's metrics. Its methods are called
// concurrently and must not block.
type Observer interface {
	// Exited is called when a task has ended, also before this manager.
	Exited(Exit)
	// Pulled is called when an image was fetched or could not be. registry is empty for an image
	// at a path, bytes is the compressed size of its layers.
	Pulled(registry string, bytes int64, took time.Duration, err error)
	// NotAlive is called when a task is stopped because its liveness check failed.
	NotAlive()
	// PartnerLost is called when a task is stopped because a task in its RestartWith ended.
	PartnerLost()
	// Swept is called when a root, layer or task of an earlier manager was removed.
	Swept()
	// ImageRemoved is called when an unused image was removed.
	ImageRemoved(why image.Reason)
}

// noObserver is the Observer of a manager without one.
type noObserver struct{}

func (noObserver) Exited(Exit)                                {}
func (noObserver) Pulled(string, int64, time.Duration, error) {}
func (noObserver) NotAlive()                                  {}
func (noObserver) PartnerLost()                               {}
func (noObserver) Swept()                                     {}
func (noObserver) ImageRemoved(image.Reason)                  {}

// Size returns the number of pods, and of tasks that have not been removed.
func (m *Manager) Size() (pods, tasks int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.pods), len(m.tasks)
}

// swept reports a removed leftover.
func (m *Manager) swept(err error) error {
	if err == nil {
		m.cfg.Observer.Swept()
	}
	return err
}
