package admission

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"sync"
	"time"
)

const (
	accessorTimeout  = 2 * time.Second
	accessorLifetime = 5 * time.Minute
	unknownLifetime  = 10 * time.Second // short, since Nomad may only have been unavailable
	maxAccessors     = 1024
	maxAccessorText  = 64 // an accessor is a UUID
)

// Accessors looks up the accessor of a request's token: it identifies the token without granting
// access. It queries Nomad with the token itself and caches the result under a hash for some
// minutes. The zero value is ready for use.
type Accessors struct {
	mu    sync.Mutex
	known map[[sha256.Size]byte]accessor
}

type accessor struct {
	id    string // "" if Nomad knows none
	until time.Time
}

// of returns the accessor of a request's token. It returns "" if the header has no token, if Nomad
// returns no accessor, for example without ACLs, and for workload identities.
func (a *Accessors) of(r *http.Request, u *Upstream) string {
	header := http.Header{}
	for _, name := range []string{"X-Nomad-Token", "Authorization"} {
		if v := r.Header.Get(name); v != "" {
			header.Set(name, v)
		}
	}
	if len(header) == 0 {
		return ""
	}
	key := sha256.Sum256([]byte(header.Get("X-Nomad-Token") + "\x00" + header.Get("Authorization")))
	if id, ok := a.remembered(key); ok {
		return id
	}
	ctx, cancel := context.WithTimeout(r.Context(), accessorTimeout)
	defer cancel()
	id := u.accessor(ctx, header)
	if r.Context().Err() == nil {
		a.remember(key, id)
	}
	return id
}

func (a *Accessors) remembered(key [sha256.Size]byte) (id string, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	known, ok := a.known[key]
	return known.id, ok && time.Now().Before(known.until)
}

func (a *Accessors) remember(key [sha256.Size]byte, id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.known == nil || len(a.known) >= maxAccessors {
		a.known = map[[sha256.Size]byte]accessor{}
	}
	lifetime := accessorLifetime
	if id == "" {
		lifetime = unknownLifetime
	}
	a.known[key] = accessor{id, time.Now().Add(lifetime)}
}

// accessor queries Nomad for the accessor. It returns "" on any error.
func (u *Upstream) accessor(ctx context.Context, header http.Header) string {
	status, raw, err := u.self(ctx, header)
	var token struct{ AccessorID string }
	if err != nil || status != http.StatusOK || json.Unmarshal(raw, &token) != nil {
		return ""
	}
	return token.AccessorID[:min(len(token.AccessorID), maxAccessorText)]
}
