package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/sidecars/log-shipper/format"
	"github.com/nomad-sidecar/nomad-sidecar/jobs/sidecars/log-shipper/journal"
	"github.com/nomad-sidecar/nomad-sidecar/jobs/sidecars/log-shipper/sink"
	"github.com/nomad-sidecar/nomad-sidecar/jobs/sidecars/log-shipper/tail"
)

// times are the intervals and timeouts of a shipper.
type times struct {
	poll     time.Duration // interval between reads
	settle   time.Duration // after the last line, once stopped, before the end is assumed
	linger   time.Duration // for more lines, once stopped and all were shipped
	drain    time.Duration // for everything after the stop
	firstTry time.Duration // before the first retry of a batch; it doubles
	lastTry  time.Duration // the longest retry interval
}

// usualTimes fit into the definition's kill timeout of 15 seconds.
func usualTimes() times {
	return times{
		poll: 250 * time.Millisecond, settle: 750 * time.Millisecond, linger: 2 * time.Second, drain: 12 * time.Second,
		firstTry: 200 * time.Millisecond, lastTry: 30 * time.Second,
	}
}

// shipper moves lines from logs to the sink, one batch after the other. Nothing is
// read while a batch is in flight, so memory is bounded by one batch and tail's
// buffers.
type shipper struct {
	logs    *tail.Tail
	journal *journal.Journal
	sink    sink.Sink
	encode  format.Encoder
	limits  limits
	times   times
	log     *slog.Logger
	closers []io.Closer
}

func (s *shipper) close() error {
	var errs []error
	for _, c := range slices.Backward(s.closers) {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// run ships until ctx is done, then drains the logs for a bounded time.
func (s *shipper) run(ctx context.Context) error {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	watched := make(chan struct{})
	go func() { // sending continues for a while after ctx is done
		defer close(watched)
		select {
		case <-ctx.Done():
			pause(work, s.times.drain)
			cancel()
		case <-work.Done():
		}
	}()
	defer func() {
		cancel()
		<-watched
	}()

	if pending := s.journal.Pending(); pending != nil {
		s.log.Info("resending the unacknowledged batch", "batch", pending.Number, "lines", pending.Lines)
		if err := s.deliver(work, pending); err != nil {
			return err
		}
	}
	for ctx.Err() == nil {
		batch, err := s.collect(ctx)
		if err != nil {
			return err
		}
		if err := s.ship(work, batch); err != nil {
			return err
		}
	}
	return s.drain(work)
}

// pause waits for d and returns false if ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// collect waits until a batch is full, its first line has reached the maximum age,
// or ctx is done. The batch may be empty.
func (s *shipper) collect(ctx context.Context) (*journal.Batch, error) {
	batch := s.journal.Next()
	var since time.Time
	for {
		full, err := s.fill(batch)
		if err != nil || full {
			return batch, err
		}
		if batch.Lines > 0 {
			if since.IsZero() {
				since = time.Now()
			}
			if time.Since(since) >= s.limits.wait {
				return batch, nil
			}
		}
		if !pause(ctx, s.times.poll) {
			return batch, nil
		}
	}
}

// fill adds the available lines to a batch.
func (s *shipper) fill(batch *journal.Batch) (full bool, err error) {
	take := s.taker(batch, &err)
	if e := s.logs.Read(take); e != nil {
		return false, e
	}
	return s.full(batch), err
}

func (s *shipper) full(b *journal.Batch) bool {
	return b.Lines >= s.limits.lines || len(b.Body) >= s.limits.bytes
}

// taker returns a function that adds lines to a batch until it is full.
func (s *shipper) taker(batch *journal.Batch, failed *error) func(tail.Line) bool {
	return func(line tail.Line) bool {
		body, err := s.encode(batch.Body, format.Record{
			Time: time.Now(), Task: line.Task, Stream: line.Name, Text: line.Text, Partial: line.Partial,
			Number: batch.FirstLine + batch.Lines,
		})
		if err != nil {
			*failed = fmt.Errorf("encode a line of %s: %w", line.Stream, err)
			return false
		}
		batch.Body = body
		batch.Lines++
		batch.Places[line.Stream] = line.End
		return !s.full(batch)
	}
}

// ship delivers a new batch unless it is empty.
func (s *shipper) ship(ctx context.Context, batch *journal.Batch) error {
	if batch.Lines == 0 {
		return nil
	}
	// A Keeper discards data that was not committed, so staging is unnecessary.
	if _, ok := s.sink.(sink.Keeper); !ok {
		if err := s.journal.Stage(batch); err != nil {
			return err
		}
	}
	return s.deliver(ctx, batch)
}

// deliver sends a batch until it has arrived and commits it.
func (s *shipper) deliver(ctx context.Context, batch *journal.Batch) error {
	send := sink.Batch{ID: fmt.Sprintf("%s-%d", s.journal.Series(), batch.Number), Body: batch.Body}
	for wait := s.times.firstTry; ; wait = min(2*wait, s.times.lastTry) {
		err := s.sink.Send(ctx, send)
		if err == nil {
			return s.commit(batch)
		}
		delay := wait/2 + rand.N(wait) // jitter, since many shippers may have lost the same receiver
		var later *sink.LaterError
		if errors.As(err, &later) {
			delay = min(max(delay, later.After), s.times.lastTry)
		}
		s.log.Error("not delivered", "batch", batch.Number, "lines", batch.Lines, "error", err, "retry_in", delay.Round(time.Millisecond))
		if !pause(ctx, delay) {
			return fmt.Errorf("stopped before batch %d was delivered: %w; it will be sent when this task starts again", batch.Number, err)
		}
	}
}

func (s *shipper) commit(batch *journal.Batch) error {
	keeper, ok := s.sink.(sink.Keeper)
	if !ok {
		return s.journal.Commit(batch, nil)
	}
	if err := s.journal.Commit(batch, keeper.Position()); err != nil {
		return err
	}
	return s.tidy(keeper)
}

func (s *shipper) tidy(keeper sink.Keeper) error {
	changed, err := keeper.Tidy()
	if err != nil || !changed {
		return err
	}
	return s.notePosition()
}

// notePosition stores the position of a Keeper before the first batch, so that this
// batch can be discarded too.
func (s *shipper) notePosition() error {
	keeper, ok := s.sink.(sink.Keeper)
	if !ok {
		return nil
	}
	return s.journal.Note(keeper.Position())
}

// drain ships the remaining lines. Nomad stops sidecars after the main tasks have
// ended and their logs are complete; other sidecars end at the same time. Once
// there are no new lines, incomplete lines are shipped. If only this task is
// restarted, other tasks may still complete them.
func (s *shipper) drain(ctx context.Context) error {
	told, news := time.Now(), time.Now()
	for ctx.Err() == nil {
		batch := s.journal.Next()
		full, err := s.fill(batch)
		if err != nil {
			return err
		}
		if batch.Lines > 0 {
			news = time.Now()
		}
		if err := s.ship(ctx, batch); err != nil {
			return err
		}
		switch now := time.Now(); {
		case full:
			continue
		case now.Sub(news) >= s.times.settle:
			return s.rest(ctx)
		case now.Sub(told) >= s.times.linger:
			s.log.Info("stopped while tasks are still writing", "shipped", s.journal.Lines())
			return nil
		}
		pause(ctx, s.times.poll)
	}
	return errors.New("stopped before all lines were shipped; the rest will be shipped when this task starts again")
}

// rest ships incomplete lines.
func (s *shipper) rest(ctx context.Context) error {
	for {
		var err error
		batch := s.journal.Next()
		s.logs.Rest(s.taker(batch, &err))
		if err != nil {
			return err
		}
		if batch.Lines == 0 {
			s.log.Info("stopped", "shipped", s.journal.Lines())
			return nil
		}
		if err := s.ship(ctx, batch); err != nil {
			return err
		}
	}
}
