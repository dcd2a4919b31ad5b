package fleet

import (
	"context"
	"errors"
)

// ErrGone is that of a job which is there no more.
var ErrGone = errors.New("there is no such job any more")

// Nomad is what this package needs of a cluster.
type Nomad interface {
	// Jobs is one page of the list of jobs, and the token of the next one, "" after
	// the last.
	Jobs(ctx context.Context, ask Ask, token string) (page []Listed, next string, err error)
	// Job is a stored job in the JSON of Nomad's API, or ErrGone.
	Job(ctx context.Context, of Ref) ([]byte, error)
	// Plan tells what registering a job would do.
	Plan(ctx context.Context, of Ref, job []byte) (*Preview, error)
	// Apply registers a job or goes back to a version, and returns the evaluation to
	// wait for, "" for none.
	Apply(ctx context.Context, c Change) (evaluation string, err error)
	// Wait waits until what an evaluation began is healthy, or has failed, which is an
	// error.
	Wait(ctx context.Context, of Ref, evaluation string, report func(string)) error
}

// Ask says which jobs to list.
type Ask struct {
	Namespace string // "*" for all that the token may see
	Prefix    string // of their IDs
}

// Ref names a job.
type Ref struct{ Namespace, ID string }

func (r Ref) String() string { return r.Namespace + "/" + r.ID }

// Listed is what the list says of a job.
type Listed struct {
	Ref
	// Parent is that of a job which Nomad made: by dispatch, or at its time.
	Parent string
	// Paused says that somebody paused its deployment.
	Paused bool
}

// Preview is what Nomad says of a job before it is registered.
type Preview struct {
	// Differs says that registering it makes a new version.
	Differs bool
	// ModifyIndex is that of the job as it is.
	ModifyIndex uint64
	// Restarts are the groups whose allocations are replaced, InPlace those that are
	// only updated.
	Restarts, InPlace []string
	// Unplaced are lines about what would find no room.
	Unplaced []string
}

// Change is a job to register, or to revert.
type Change struct {
	Ref
	// Job is in the JSON of Nomad's API; nil to go back to the version To.
	Job []byte
	To  uint64
	// From is the version that the job has now, whose source is kept.
	From uint64
	// ModifyIndex is that which a job to register must still have.
	ModifyIndex uint64
}
