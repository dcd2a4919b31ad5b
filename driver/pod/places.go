package pod

import (
	"context"
	"runtime"
	"sync"
	"time"
)

// places bounds how many containers are created at once. Of hundreds of OCI
// runtimes that start together none is in time: each reads the mounts of the
// host and copies them for its mount namespace, and those wait for each other
// for one lock of the kernel.
//
// Runtimes that hang do not hold up the others for as long as they are given:
// where for some time none was done, they lose their places to the next.
type places struct {
	taken chan struct{}
	stall time.Duration

	mu   sync.Mutex
	done time.Time // when one was last given back
}

func newPlaces(createTimeout time.Duration) *places {
	return &places{taken: make(chan struct{}, max(8, runtime.GOMAXPROCS(0))), stall: createTimeout / 4}
}

// take waits for a place, which must be given back.
func (p *places) take(ctx context.Context) (giveBack func(), err error) {
	select {
	case p.taken <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	lost, back := false, false // guarded by p.mu
	var look *time.Timer
	look = time.AfterFunc(p.stall, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		switch {
		case back:
		case time.Since(p.done) < p.stall:
			look.Reset(p.stall)
		default:
			lost = true
			<-p.taken
		}
	})
	return func() {
		look.Stop()
		p.mu.Lock()
		defer p.mu.Unlock()
		back, p.done = true, time.Now()
		if !lost {
			<-p.taken
		}
	}, nil
}
