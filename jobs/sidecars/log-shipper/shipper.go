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

// times are how long a shipper waits.
type times struct {
	poll     time.Duration // between two looks for lines
	settle   time.Duration // after the last line, once told to stop, before it is the end
	linger   time.Duration // for more lines, once told to stop and all were shipped
	drain    time.Duration // for all that is done after being told to stop
	firstTry time.Duration // before a batch is sent again; it doubles
	lastTry  time.Duration // up to this
}

// usualTimes fit into the kill timeout of the definition, 15 seconds.
func usualTimes() times {
	return times{
		poll: 250 * time.Millisecond, settle: 750 * time.Millisecond, linger: 2 * time.Second, drain: 12 * time.Second,
		firstTry: 200 * time.Millisecond, lastTry: 30 * time.Second,
	}
}

// shipper takes lines from the logs to the sink, one batch after the other:
// while a batch is on its way nothing is read, so that memory is bounded by
// one batch and what tail keeps.
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

// run ships until ctx is done, then what is left, for a bounded time.
func (s *shipper) run(ctx context.Context) error {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	watched := make(chan struct{})
	go func() { // sending goes on for a while after ctx is done
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
		s.log.Info("sending the batch again that was not answered", "batch", pending.Number, "lines", pending.Lines)
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

// pause waits, and tells whether it was for all of the time.
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

// collect waits until a batch is full or its first line has waited long
// enough, or ctx is done. Then it may be empty.
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

// fill puts what there is into a batch.
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

// taker puts lines into a batch until it is full.
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

// ship delivers a new batch, if there is something in it.
func (s *shipper) ship(ctx context.Context, batch *journal.Batch) error {
	if batch.Lines == 0 {
		return nil
	}
	// What a Keeper got and nobody has an account of is taken back.
	if _, ok := s.sink.(sink.Keeper); !ok {
		if err := s.journal.Stage(batch); err != nil {
			return err
		}
	}
	return s.deliver(ctx, batch)
}

// deliver sends a batch until it has arrived, and commits it.
func (s *shipper) deliver(ctx context.Context, batch *journal.Batch) error {
	send := sink.Batch{ID: fmt.Sprintf("%s-%d", s.journal.Series(), batch.Number), Body: batch.Body}
	for wait := s.times.firstTry; ; wait = min(2*wait, s.times.lastTry) {
		err := s.sink.Send(ctx, send)
		if err == nil {
			return s.commit(batch)
		}
		delay := wait/2 + rand.N(wait) // many shippers may have lost one receiver
		var later *sink.LaterError
		if errors.As(err, &later) {
			delay = min(max(delay, later.After), s.times.lastTry)
		}
		s.log.Error("not delivered", "batch", batch.Number, "lines", batch.Lines, "error", err, "retry_in", delay.Round(time.Millisecond))
		if !pause(ctx, delay) {
			return fmt.Errorf("told to stop before batch %d was delivered: %w; it is sent when this task is started again", batch.Number, err)
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

// notePosition notes where a Keeper is before it is sent anything, so that the
// first batch can be taken back, too.
func (s *shipper) notePosition() error {
	keeper, ok := s.sink.(sink.Keeper)
	if !ok {
		return nil
	}
	return s.journal.Note(keeper.Position())
}

// drain ships what the tasks have left. Nomad tells sidecars to stop when the
// main tasks have ended and their logs are complete; other sidecars end at the
// same time. When there is nothing new any more, the lines that have no end
// are shipped as they are. Where the tasks go on, since only this one is
// restarted, they may still get theirs.
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
			s.log.Info("stopped, while tasks go on writing", "shipped", s.journal.Lines())
			return nil
		}
		pause(ctx, s.times.poll)
	}
	return errors.New("told to stop before all lines were shipped: they are when this task is started again")
}

// rest ships the lines that have no end.
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
