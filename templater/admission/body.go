package admission

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/nomad-sidecar/nomad-sidecar/templater/limit"
)

// blockBytes is the size of one read from a body. The first block of a body without a job must be
// complete before the request takes a connection to Nomad.
const blockBytes = 64 << 10

// incoming reads a request's body in blocks, each within a time limit and the client's share of the
// memory for bodies.
type incoming struct {
	body     io.Reader
	length   int64 // -1 if unknown
	deadline *http.ResponseController
	stall    time.Duration // per block
	until    time.Time     // for the whole body, unless zero
	client   limit.Client
	buffers  *limit.Shares
	held     int64
	read     int64
}

func (p *Proxy) incoming(w http.ResponseWriter, r *http.Request) *incoming {
	return &incoming{
		body: r.Body, length: r.ContentLength, deadline: http.NewResponseController(w), stall: p.BlockTimeout,
		client: p.Limits.Proxies.Client(r), buffers: p.Limits.Buffers,
	}
}

// block fills buf, or a part of it and returns io.EOF. After any other error the deadline stays
// set: otherwise the server would wait for the rest of the body before it responds.
func (b *incoming) block(buf []byte) (n int, err error) {
	at := time.Now().Add(b.stall)
	if !b.until.IsZero() && b.until.Before(at) {
		at = b.until
	}
	_ = b.deadline.SetReadDeadline(at) // not every ResponseWriter supports deadlines
	for n < len(buf) && err == nil {
		var m int
		m, err = b.body.Read(buf[n:])
		n += m
	}
	if err == nil || errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		_ = b.deadline.SetReadDeadline(time.Time{})
	}
	b.read += int64(n)
	return n, err
}

// take reserves memory for the next block, or for the rest of the body if it is smaller.
func (b *incoming) take() (int, error) {
	n := int64(blockBytes)
	if b.length >= 0 {
		n = max(1, min(n, b.length-b.read)) // one byte to detect the end
	}
	if err := b.buffers.Take(b.client, n); err != nil {
		return 0, &refusal{buffers, err}
	}
	b.held += n
	return int(n), nil
}

func (b *incoming) release() { b.buffers.Give(b.client, b.held) }

// all reads the whole body. The memory stays reserved until release.
func (b *incoming) all(most int64) ([]byte, error) {
	if b.length > most {
		return nil, &http.MaxBytesError{Limit: most}
	}
	var out []byte
	for {
		size, err := b.take()
		if err != nil {
			return nil, err
		}
		had := len(out)
		out = append(out, make([]byte, size)...)
		n, err := b.block(out[had:])
		out = out[:had+n]
		switch {
		case int64(len(out)) > most:
			return nil, &http.MaxBytesError{Limit: most}
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return nil, slow(err)
		}
	}
}

// first reads the first block and sets the request's body to this block and the rest.
func (b *incoming) first(r *http.Request) error {
	size, err := b.take()
	if err != nil {
		return err
	}
	if int64(size) == b.length { // complete, known without another read
		size++
	}
	buf := make([]byte, size)
	n, err := b.block(buf)
	switch {
	case errors.Is(err, io.EOF):
		r.Body, r.ContentLength, r.TransferEncoding = io.NopCloser(bytes.NewReader(buf[:n])), int64(n), nil
		return nil
	case err != nil:
		return slow(err)
	}
	r.Body = &stream{incoming: b, closer: r.Body, buf: buf, rest: buf[:n]}
	return nil
}

// stream passes on whole blocks of a body only, so that a client cannot make Nomad wait for single
// bytes.
type stream struct {
	*incoming
	closer io.Closer
	buf    []byte
	rest   []byte
	err    error
}

func (s *stream) Read(b []byte) (int, error) {
	if len(s.rest) == 0 {
		if s.err != nil {
			return 0, s.err
		}
		n, err := s.block(s.buf)
		s.rest = s.buf[:n]
		if err != nil {
			s.err = err
			if !errors.Is(err, io.EOF) {
				s.err = slow(err)
			}
		}
	}
	n := copy(b, s.rest)
	s.rest = s.rest[n:]
	if n == 0 && s.err != nil {
		return 0, s.err
	}
	return n, nil
}

func (s *stream) Close() error { return s.closer.Close() }

// slow converts an expired deadline to a refusal.
func slow(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &refusal{slowBody, err}
	}
	return fmt.Errorf("read the request: %w", err)
}
