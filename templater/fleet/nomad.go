package fleet

import (
	"context"
	"errors"
)

// ErrGone means that the job no longer exists.
var ErrGone = errors.New("the job no longer exists")

// Nomad is the part of a cluster's API that this package uses.
type Nomad interface {
	// Jobs returns one page of the list of jobs and the token of the next page, "" after
	// the last.
	Jobs(ctx context.Context, ask Ask, token string) (page []Listed, next string, err error)
	// Job returns a stored job in the JSON of Nomad's API, or ErrGone.
	Job(ctx context.Context, of Ref) ([]byte, error)
	// Plan returns the effect of registering a job.
	Plan(ctx context.Context, of Ref, job []byte) (*Preview, error)
	// Apply registers or reverts a job and returns the evaluation to
	// wait for, "" for none.
	Apply(ctx context.Context, c Change) (evaluation string, err error)
	// Wait waits until the result of an evaluation is healthy. It returns an error if
	// that fails.
	Wait(ctx context.Context, of Ref, evaluation string, report func(string)) error
}

// Ask selects the jobs to list.
type Ask struct {
	Namespace string // "*" for all that the token may see
	Prefix    string // of their IDs
}

// Ref is a reference to a job.
type Ref struct{ Namespace, ID string }

func (r Ref) String() string { return r.Namespace + "/" + r.ID }

// Listed is a job in Nomad's list of jobs.
type Listed struct {
	Ref
	// Parent is the parent of a dispatched or periodic job.
	Parent string
	// Paused means that a user paused its deployment.
	Paused bool
}

// Preview is Nomad's plan for a job.
type Preview struct {
	// Differs means that registering the job creates a new version.
	Differs bool
	// ModifyIndex is the current modify index.
	ModifyIndex uint64
	// Restarts are groups whose allocations are replaced, InPlace groups that are
	// updated in place.
	Restarts, InPlace []string
	// Unplaced are lines about allocations that could not be placed.
	Unplaced []string
}

// Change is a registration or a revert.
type Change struct {
	Ref
	// Job is in the JSON of Nomad's API; nil to revert to version To.
	Job []byte
	To  uint64
	// From is the current version, whose submission is kept.
	From uint64
	// ModifyIndex must equal the job's modify index at registration.
	ModifyIndex uint64
}
