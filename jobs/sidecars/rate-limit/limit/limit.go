// Package limit decides which requests may pass, by one token bucket per client and
// one for all clients.
//
// It does not depend on HTTP: a client is an opaque key. It never blocks.
package limit

import (
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"
)

// Rate describes a token bucket.
type Rate struct {
	// PerSecond is the sustained number of requests per second.
	PerSecond float64
	// Burst is the number of requests that may pass together after an idle period.
	Burst int
}

// Valid returns an error if the rate is unusable.
func (r Rate) Valid() error {
	if !(r.PerSecond > 0) || math.IsInf(r.PerSecond, 1) { // NaN is neither
		return fmt.Errorf("%v requests per second: want more than 0", r.PerSecond)
	}
	if r.Burst < 1 {
		return fmt.Errorf("a burst of %d: want 1 or more", r.Burst)
	}
	return nil
}

// Fill returns how long an empty bucket takes to fill.
func (r Rate) Fill() time.Duration { return r.duration(float64(r.Burst)) }

// duration returns how long the given number of tokens takes.
func (r Rate) duration(tokens float64) time.Duration {
	seconds := tokens / r.PerSecond
	if seconds > math.MaxInt64/float64(time.Second) {
		return math.MaxInt64
	}
	return time.Duration(seconds * float64(time.Second))
}

// Scope names the bucket that refused a request.
type Scope string

const (
	// None means that the request may pass.
	None Scope = ""
	// Client is the bucket of the request's client.
	Client Scope = "client"
	// Global is the bucket of all clients.
	Global Scope = "global"
)

// Decision is the result for one request.
type Decision struct {
	// Refused is None for a request that may pass.
	Refused Scope
	// Remaining is the number of requests that the client may send immediately.
	Remaining int
	// Reset is how long the client's bucket takes to fill.
	Reset time.Duration
	// RetryAfter is when a refused request could pass if no other arrives.
	RetryAfter time.Duration
}

// Limiter holds the buckets. It is safe for concurrent use.
type Limiter struct {
	client Rate
	global Rate

	mu      sync.Mutex
	all     *rate.Limiter // nil without a global rate
	buckets *simplelru.LRU[string, *rate.Limiter]
	evicted uint64
}

// New returns a Limiter. A zero global rate is unlimited. At most maxClients
// buckets are kept: the least recently used is evicted first, and its client starts
// again with a full one.
func New(client, global Rate, maxClients int) (*Limiter, error) {
	l := &Limiter{client: client, global: global}
	if err := client.Valid(); err != nil {
		return nil, err
	}
	if global != (Rate{}) {
		if err := global.Valid(); err != nil {
			return nil, fmt.Errorf("all clients: %w", err)
		}
		l.all = rate.NewLimiter(rate.Limit(global.PerSecond), global.Burst)
	}
	buckets, err := simplelru.NewLRU(maxClients, func(string, *rate.Limiter) { l.evicted++ })
	if err != nil {
		return nil, fmt.Errorf("%d clients: %w", maxClients, err)
	}
	l.buckets = buckets
	return l, nil
}

// Take takes one token from the client's bucket and one from the global bucket, or
// none from either if one of them is empty.
func (l *Limiter) Take(key string, now time.Time) Decision {
	l.mu.Lock()
	defer l.mu.Unlock()
	bucket, ok := l.buckets.Get(key)
	if !ok {
		bucket = rate.NewLimiter(rate.Limit(l.client.PerSecond), l.client.Burst)
		l.buckets.Add(key, bucket)
	}
	var d Decision
	if wait := missing(bucket, l.client, now); wait > 0 {
		d.Refused, d.RetryAfter = Client, wait
	}
	if l.all != nil {
		if wait := missing(l.all, l.global, now); wait > 0 && d.Refused == None {
			d.Refused, d.RetryAfter = Global, wait
		}
	}
	if d.Refused == None {
		bucket.AllowN(now, 1)
		if l.all != nil {
			l.all.AllowN(now, 1)
		}
	}
	left := max(0, bucket.TokensAt(now))
	d.Remaining = int(left)
	d.Reset = l.client.duration(float64(l.client.Burst) - left)
	return d
}

// missing returns how long until a bucket has a token, 0 if it has one.
func missing(bucket *rate.Limiter, r Rate, now time.Time) time.Duration {
	tokens := bucket.TokensAt(now)
	if tokens >= 1 {
		return 0
	}
	return max(1, r.duration(1-tokens))
}

// Clients returns the number of buckets.
func (l *Limiter) Clients() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buckets.Len()
}

// Evicted returns how many buckets were evicted.
func (l *Limiter) Evicted() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.evicted
}
