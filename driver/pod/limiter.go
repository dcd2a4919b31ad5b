package pod

import (
	"context"
	"runtime"
	"sync"
	"time"
)

// limiter bounds how many containers are created concurrently. When hundreds of OCI
// runtimes start together, all of them miss their deadline: each reads the host's
// mounts and copies them to its mount namespace, which contends for one kernel
// lock.
//
// Hanging runtimes do not block others for the whole create timeout: if no create
// completes for some time, their slots go to others.
type limiter struct {
	taken chan struct{}
	stall time.Duration

	mu   sync.Mutex
	done time.Time // when a slot was last released
}

func newLimiter(createTimeout time.Duration) *limiter {
	return &limiter{taken: make(chan struct{}, max(8, runtime.GOMAXPROCS(0))), stall: createTimeout / 4}
}

// acquire blocks until a slot is free. The caller must call release.
func (l *limiter) acquire(ctx context.Context) (release func(), err error) {
	select {
	case l.taken <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	lost, released := false, false // guarded by l.mu
	var check *time.Timer
	check = time.AfterFunc(l.stall, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		switch {
		case released:
		case time.Since(l.done) < l.stall:
			check.Reset(l.stall)
		default:
			lost = true
			<-l.taken
		}
	})
	return func() {
		check.Stop()
		l.mu.Lock()
		defer l.mu.Unlock()
		released, l.done = true, time.Now()
		if !lost {
			<-l.taken
		}
	}, nil
}
