package serve

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// Run serves until ctx ends and then drains. It reloads on each value from reload.
func (s *Server) Run(ctx context.Context, reload <-chan os.Signal) error {
	defer s.flush()
	var wait sync.WaitGroup
	failed := make(chan error, len(s.listeners))
	for server, l := range s.listeners {
		wait.Add(1)
		go func(server *http.Server, l net.Listener) {
			defer wait.Done()
			if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				failed <- err
			}
		}(server, l)
	}
	ctx, stop := context.WithCancel(ctx)
	if s.fleet != nil {
		wait.Add(1)
		go func() {
			defer wait.Done()
			s.fleet.Run(ctx)
		}()
	}
	defer wait.Wait()
	defer stop()
	look, done := ticks(s.ReloadEvery)
	defer done()
	for {
		select {
		case <-ctx.Done():
			return s.drain()
		case err := <-failed:
			return errors.Join(err, s.front.Close(), s.admin.Close())
		case <-reload:
			s.watch = newWatch(s.files())
			s.reload()
		case <-look:
			if s.watch.changed() {
				s.reload()
			}
		}
	}
}

// ticks returns a ticker's channel, or one that never receives if every is 0.
func ticks(every time.Duration) (ticks <-chan time.Time, stop func()) {
	if every == 0 {
		return nil, func() {}
	}
	t := time.NewTicker(every)
	return t.C, t.Stop
}

// flush sends the remaining spans after the last request.
func (s *Server) flush() {
	ctx, cancel := context.WithTimeout(context.Background(), FlushTimeout)
	defer cancel()
	s.tracing.Close(ctx)
}

// reload activates the new rules and certificate. If either has an error, it keeps both old ones.
func (s *Server) reload() {
	rules, certificate, err := s.load()
	s.metrics.Reloaded(err == nil)
	if err != nil {
		s.Report(err)
		now := time.Now()
		s.notReloaded.Store(&now)
		s.log.Error("reload failed; the previous configuration stays in use")
		return
	}
	s.certificate.Store(certificate)
	s.proxy.Use(rules)
	s.notReloaded.Store(nil)
	s.log.Info("reloaded")
}

// tracked lets drain wait for requests and close them. http.Server does neither for upgraded
// connections, such as terminals of exec.
func (s *Server) tracked(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.working.Add(1)
		defer s.working.Done()
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(s.cut, cancel)()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// drain waits for active requests and closes those that outlast the drain time, such as streams
// and terminals.
func (s *Server) drain() error {
	s.draining.Store(true)
	s.log.Info("shutting down", "drain", s.Drain.String())
	ctx, cancel := context.WithTimeout(context.Background(), s.Drain)
	defer cancel()
	defer context.AfterFunc(ctx, s.cutAll)()
	err := s.front.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.front.Close()
	}
	s.working.Wait() // for upgraded connections, until they end or are closed
	s.cutAll()
	s.upstream.Transport.CloseIdleConnections()
	return errors.Join(err, s.admin.Close())
}
