package image

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.podman.io/image/v5/types"
	"go.podman.io/storage"
)

// PullPolicy determines when an image is fetched.
type PullPolicy string

// The pull policies. Unless the policy is PullNever, an image at a path is read again whenever
// its content has changed.
const (
	PullMissing PullPolicy = "missing" // if the store has no image of that name; the default
	PullAlways  PullPolicy = "always"  // ask the source each time; stored layers are not fetched again
	PullNever   PullPolicy = "never"   // use stored images only
)

// PullOptions are the options of a pull.
type PullOptions struct {
	Policy PullPolicy // "" is PullMissing

	// Username and Password override the auth file for the image's registry.
	Username, Password string

	Platform string        // os/arch[/variant]; "" is the host's
	Timeout  time.Duration // 0 is Config.PullTimeout

	// Progress may be nil. It is called from one goroutine at a time, never
	// after Ensure has returned, and must not block.
	Progress func(Progress)
}

// Check returns the errors that Ensure would return for ref and o before it contacts the
// source. Errors wrap ErrInvalidReference or ErrInvalidConfig.
func (o PullOptions) Check(ref Reference) error {
	_, err := newFlightKey(ref, o)
	return err
}

// flightKey identifies pulls that may share a result. With other credentials a registry may
// respond differently.
type flightKey struct {
	ref                Reference
	platform           platform
	policy             PullPolicy
	username, password string
}

// flight is a pull that one or more Ensure calls wait for.
type flight struct {
	cancel    context.CancelFunc
	waiting   int // guarded by Store.mu
	listeners listeners
	done      chan struct{}
	img       Image // valid after done
	err       error // valid after done
}

// Ensure makes the image available in the store. Concurrent calls for the same image share one
// pull, which is cancelled when the last of them is. Ensure returns when ctx ends or the timeout
// expires.
//
// Errors wrap ErrNotFound, ErrUnauthorized, ErrInvalidReference, ErrInvalidImage, ErrPlatform,
// ErrRejected, ErrPullTimeout, ErrInvalidConfig or ErrClosed if one applies.
func (s *Store) Ensure(ctx context.Context, ref Reference, o PullOptions) (Image, error) {
	key, err := newFlightKey(ref, o)
	if err != nil {
		return Image{}, err
	}
	if err := s.ready(ctx); err != nil {
		return Image{}, fmt.Errorf("image %q: %w", ref, err)
	}
	if key.policy != PullAlways {
		img, err := s.lookup(key)
		if err == nil || !errors.Is(err, errNotStored) && !errors.Is(err, errOtherAccess) {
			return img, err
		}
		if key.policy == PullNever && errors.Is(err, errNotStored) {
			return Image{}, fmt.Errorf("%w: image %q is not in the store and its pull policy is %q; "+
				"use policy %q or fetch it first", ErrNotFound, ref, PullNever, PullMissing)
		}
	}
	timeout := o.Timeout
	if timeout == 0 {
		timeout = s.cfg.PullTimeout
	}
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, fmt.Errorf(
			"%w: image %q from %s was not complete within %s; raise the pull timeout, or check that the source is reachable",
			ErrPullTimeout, ref, ref.location(), timeout))
		defer cancel()
	}
	return s.await(ctx, key, o.Progress)
}

func newFlightKey(ref Reference, o PullOptions) (flightKey, error) {
	if ref == (Reference{}) {
		return flightKey{}, fmt.Errorf("%w: it is empty; set it to the name of an image", ErrInvalidReference)
	}
	if ref.path != "" && ref.anchor == "" {
		return flightKey{}, fmt.Errorf("%w %q: the path is not bound to an allowed directory", ErrInvalidReference, ref)
	}
	if o.Policy == "" {
		o.Policy = PullMissing
	}
	switch o.Policy {
	case PullMissing, PullAlways, PullNever:
	default:
		return flightKey{}, fmt.Errorf("%w: pull policy %q; use %q, %q or %q",
			ErrInvalidConfig, o.Policy, PullMissing, PullAlways, PullNever)
	}
	if o.Timeout < 0 {
		return flightKey{}, fmt.Errorf("%w: pull timeout %s is negative", ErrInvalidConfig, o.Timeout)
	}
	if o.Password != "" && o.Username == "" {
		return flightKey{}, fmt.Errorf("%w: image %q: a password without a user name; set both", ErrInvalidConfig, ref)
	}
	p, err := parsePlatform(o.Platform)
	if err != nil {
		return flightKey{}, err
	}
	return flightKey{ref, p, o.Policy, o.Username, o.Password}, nil
}

// await joins the flight for key, or starts one.
func (s *Store) await(ctx context.Context, key flightKey, progress func(Progress)) (Image, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return Image{}, fmt.Errorf("pull image %q: %w", key.ref, ErrClosed)
	}
	f := s.flights[key]
	if f == nil {
		var pullCtx context.Context
		f = &flight{done: make(chan struct{})}
		pullCtx, f.cancel = context.WithCancel(s.base)
		s.flights[key] = f
		s.pulls.Go(func() { s.fly(pullCtx, key, f) })
	}
	f.waiting++
	s.mu.Unlock()

	defer s.leave(key, f)
	defer f.listeners.join(progress)()
	select {
	case <-f.done:
		return f.img, f.err
	case <-ctx.Done():
		cause := context.Cause(ctx)
		if errors.Is(cause, ErrPullTimeout) {
			return Image{}, cause // the cause is the complete message
		}
		return Image{}, fmt.Errorf("pull image %q: %w", key.ref, cause)
	}
}

// leave removes a caller from a flight. The last caller to leave cancels the flight and removes
// it from the map first, so that a new caller does not join a cancelled pull.
func (s *Store) leave(key flightKey, f *flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.waiting--
	if f.waiting > 0 {
		return
	}
	f.cancel()
	if s.flights[key] == f {
		delete(s.flights, key)
	}
}

// fly runs a flight to its end.
func (s *Store) fly(ctx context.Context, key flightKey, f *flight) {
	defer close(f.done)
	f.img, f.err = s.pull(ctx, key, f.listeners.tell)
	if f.err != nil && errors.Is(context.Cause(ctx), ErrClosed) {
		f.err = fmt.Errorf("pull image %q: %w", key.ref, ErrClosed)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flights[key] == f {
		delete(s.flights, key)
	}
}

// errNotStored reports that the store has no matching image; it never leaves the package.
var errNotStored = errors.New("not in the store")

// lookup returns the image from the store and marks it as used. It ignores an image of the same
// name for another platform.
func (s *Store) lookup(key flightKey) (Image, error) {
	name, err := key.ref.storeName()
	if err != nil {
		return Image{}, err
	}
	s.uses.RLock()
	defer s.uses.RUnlock()
	found, err := s.store.Image(name)
	if errors.Is(err, storage.ErrImageUnknown) {
		found, err = s.digested(key.ref)
	}
	if errors.Is(err, errNotStored) {
		return Image{}, errNotStored
	}
	if err != nil {
		return Image{}, fmt.Errorf("look up image %q: %w", key.ref, err)
	}
	img, have, err := s.stored(found)
	if errors.Is(err, ErrNotFound) || err == nil && !key.platform.fits(have) {
		return Image{}, errNotStored
	}
	if err == nil && !found.ReadOnly {
		err = s.granted(key, img.ID)
	}
	if errors.Is(err, errOtherAccess) {
		return img, err
	}
	if err != nil {
		return Image{}, err
	}
	return img, s.markUsed(img.ID)
}

// systemContext returns the SystemContext of this pull.
func (s *Store) systemContext(key flightKey) *types.SystemContext {
	sys := s.cfg.systemContext()
	if s.cfg.AuthFile == "" {
		sys.DockerAuthConfig = &types.DockerAuthConfig{} // no credential helpers either
	}
	sys.OSChoice, sys.ArchitectureChoice, sys.VariantChoice = key.platform.os, key.platform.arch, key.platform.variant
	if key.username != "" {
		sys.DockerAuthConfig = &types.DockerAuthConfig{Username: key.username, Password: key.password}
	}
	return sys
}
