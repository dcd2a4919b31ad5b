// Package limit decides which requests may pass: by a token bucket for each
// client and one for all of them.
//
// It knows neither HTTP nor what a client is: that is a key. It does not make
// anybody wait.
package limit

import (
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"
)

// Rate is a token bucket's.
type Rate struct {
	// PerSecond is how many requests may pass in the long run.
	PerSecond float64
	// Burst is how many may pass at once after a quiet time.
	Burst int
}

// Valid tells what is wrong with a rate.
func (r Rate) Valid() error {
	if !(r.PerSecond > 0) || math.IsInf(r.PerSecond, 1) { // NaN is neither
		return fmt.Errorf("%v requests per second: want more than 0", r.PerSecond)
	}
	if r.Burst < 1 {
		return fmt.Errorf("a burst of %d: want 1 or more", r.Burst)
	}
	return nil
}

// Fill is how long an empty bucket takes to be full.
func (r Rate) Fill() time.Duration { return r.duration(float64(r.Burst)) }

// duration is the time that so many tokens take.
func (r Rate) duration(tokens float64) time.Duration {
	seconds := tokens / r.PerSecond
	if seconds > math.MaxInt64/float64(time.Second) {
		return math.MaxInt64
	}
	return time.Duration(seconds * float64(time.Second))
}

// Scope is whose bucket refused a request.
type Scope string

const (
	// None refused: the request may pass.
	None Scope = ""
	// Client is the bucket of the request's client.
	Client Scope = "client"
	// Global is the bucket of all clients.
	Global Scope = "global"
)

// Decision is what became of a request.
type Decision struct {
	// Refused is None for a request that may pass.
	Refused Scope
	// Remaining is what the client may send at once from now on.
	Remaining int
	// Reset is how long the client's bucket takes to be full.
	Reset time.Duration
	// RetryAfter is when a refused request could pass, were it alone.
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

// New makes a Limiter. A zero global rate limits nothing. No more than
// maxClients buckets are kept: the one that was not asked for the longest goes
// first, and its client begins anew with a full one.
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

// Take takes a token of the client and one of all, or none at all: who is
// refused takes nothing from others.
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

// missing is how long it takes until a bucket has a token, 0 if it has.
func missing(bucket *rate.Limiter, r Rate, now time.Time) time.Duration {
	tokens := bucket.TokensAt(now)
	if tokens >= 1 {
		return 0
	}
	return max(1, r.duration(1-tokens))
}

// Clients is how many buckets there are.
func (l *Limiter) Clients() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buckets.Len()
}

// Evicted is how many buckets went to make room for others.
func (l *Limiter) Evicted() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.evicted
}
