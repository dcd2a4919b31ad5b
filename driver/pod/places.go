package pod

import (
	"context"
	"runtime"
	"sync"
	"time"
)

// places bounds how many containers are created at once. Of hundreds of OCI
// runtimes that start together none is in time: each makes a mount namespace,
// for which the kernel copies the mounts of the host, and those wait for each
// other.
//
// A place is lent for much longer than a creation takes. Who needs more goes
// on without one, so that runtimes that hang do not hold up the others.
type places struct {
	taken chan struct{}
	lent  time.Duration
}

func newPlaces(createTimeout time.Duration) places {
	return places{taken: make(chan struct{}, max(16, 4*runtime.GOMAXPROCS(0))), lent: createTimeout / 10}
}

// take waits for a place. It must be given back once; before a while is over,
// or not, is the same.
func (p places) take(ctx context.Context) (giveBack func(), err error) {
	select {
	case p.taken <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	leave := sync.OnceFunc(func() { <-p.taken })
	late := time.AfterFunc(p.lent, leave)
	return func() { late.Stop(); leave() }, nil
}
