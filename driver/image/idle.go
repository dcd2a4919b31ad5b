package image

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// errStalled reports that the source stopped sending; a retry may succeed.
var errStalled = errors.New("no data arrived")

// idleTimer ends a pull attempt if the source sends nothing, for example behind a firewall that
// drops packets. Without it such an attempt would last for the pull's entire timeout.
type idleTimer struct {
	limit  time.Duration
	timer  *time.Timer
	cancel context.CancelCauseFunc
}

// withIdleTimeout returns a context that ends after limit without a touch; 0 means no limit. The
// caller must stop the timer.
func withIdleTimeout(ctx context.Context, limit time.Duration) (context.Context, *idleTimer) {
	ctx, cancel := context.WithCancelCause(ctx)
	i := &idleTimer{limit: limit, cancel: cancel}
	if limit > 0 {
		i.timer = time.AfterFunc(limit, func() { cancel(errStalled) })
	}
	return ctx, i
}

// touch records that data arrived. After the last byte only local work remains, which is not
// limited.
func (i *idleTimer) touch(p Progress) {
	switch {
	case i.timer == nil:
	case p.LayersDone == p.LayersTotal:
		i.timer.Stop()
	case i.timer.Stop(): // otherwise the timer has fired
		i.timer.Reset(i.limit)
	}
}

func (i *idleTimer) stop() {
	if i.timer != nil {
		i.timer.Stop()
	}
	i.cancel(nil)
}

// explain replaces err by the timeout's error if the timer ended ctx.
func (i *idleTimer) explain(ctx context.Context, err error) error {
	if err == nil || !errors.Is(context.Cause(ctx), errStalled) {
		return err
	}
	return fmt.Errorf("%w for %s", errStalled, i.limit)
}
