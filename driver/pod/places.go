package pod

import (
	"context"
	"runtime"
	"sync"
	"time"
)

// places bounds how many containers are created at once. When hundreds of OCI
// runtimes start together, all of them miss their deadline: each reads the host's
// mounts and copies them to its mount namespace, which contends for one kernel
// lock.
//
// Hanging runtimes do not block others for the whole create timeout: if no create
// completes for some time, their places go to others.
type places struct {
	taken chan struct{}
	stall time.Duration

	mu   sync.Mutex
	done time.Time // when a place was last returned
}

func newPlaces(createTimeout time.Duration) *places {
	return &places{taken: make(chan struct{}, max(8, runtime.GOMAXPROCS(0))), stall: createTimeout / 4}
}

// take blocks until a place is free. The caller must return it with giveBack.
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
