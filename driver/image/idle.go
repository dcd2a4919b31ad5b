package image

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// errStalled says that a source went silent; another attempt may succeed.
var errStalled = errors.New("nothing arrived")

// idleTimer ends an attempt whose source sends nothing, as one behind a
// firewall that drops packets does. Without it such an attempt would last
// until the pull's whole time is over.
type idleTimer struct {
	limit  time.Duration
	timer  *time.Timer
	cancel context.CancelCauseFunc
}

// withIdleTimeout gives a context that ends when limit passes without a touch;
// 0 is no limit. The caller must stop the timer.
func withIdleTimeout(ctx context.Context, limit time.Duration) (context.Context, *idleTimer) {
	ctx, cancel := context.WithCancelCause(ctx)
	i := &idleTimer{limit: limit, cancel: cancel}
	if limit > 0 {
		i.timer = time.AfterFunc(limit, func() { cancel(errStalled) })
	}
	return ctx, i
}

// touch notes that something arrived. When all has, what is left is the host's
// own work, which may take its time.
func (i *idleTimer) touch(p Progress) {
	switch {
	case i.timer == nil:
	case p.LayersDone == p.LayersTotal:
		i.timer.Stop()
	case i.timer.Stop(): // else it is over
		i.timer.Reset(i.limit)
	}
}

func (i *idleTimer) stop() {
	if i.timer != nil {
		i.timer.Stop()
	}
	i.cancel(nil)
}

// explain replaces what the end of ctx made of err.
func (i *idleTimer) explain(ctx context.Context, err error) error {
	if err == nil || !errors.Is(context.Cause(ctx), errStalled) {
		return err
	}
	return fmt.Errorf("%w for %s", errStalled, i.limit)
}
