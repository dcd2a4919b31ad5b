package fleet

import (
	"context"
	"encoding/json"
	"errors"
)

// ErrGone means that the job no longer exists.
var ErrGone = errors.New("the job no longer exists")

// ErrRefused is wrapped by errors with which Nomad answers a request about one job. Other errors,
// such as a lost connection, concern all jobs.
var ErrRefused = errors.New("Nomad refused the request")

// ErrChanged is wrapped by the error of a registration or revert if the job has another modify
// index or version than expected.
var ErrChanged = errors.New("the job was registered again")

// Nomad is the part of a cluster's API that this package uses.
type Nomad interface {
	// Jobs returns one page of the list of jobs and the token of the next page, "" after
	// the last.
	Jobs(ctx context.Context, ask Ask, token string) (page []Listed, next string, err error)
	// Job returns a stored job in the JSON of Nomad's API, or ErrGone.
	Job(ctx context.Context, of Ref) ([]byte, error)
	// Versions returns the versions of a job that Nomad keeps, or ErrGone.
	Versions(ctx context.Context, of Ref) ([]json.RawMessage, error)
	// Deployment returns the active deployment of a job, nil for none.
	Deployment(ctx context.Context, of Ref) (*Deployment, error)
	// Plan returns the effect of registering a job.
	Plan(ctx context.Context, of Ref, job []byte) (*Preview, error)
	// Apply registers or reverts a job and returns the evaluation to
	// wait for, "" for none.
	Apply(ctx context.Context, c Change) (evaluation string, err error)
	// Wait waits until the result of an evaluation of a version of a job is healthy. It
	// returns an error if that fails.
	Wait(ctx context.Context, of Ref, evaluation string, version uint64, report func(string)) error
	// Proxy returns the digest of the catalog of the admission proxy that answered last, ""
	// if Nomad answered itself.
	Proxy() (catalog string)
}

// Deployment is an active deployment.
type Deployment struct {
	ID      string
	Version uint64 // of the job
	Paused  bool
	// Canaries means that it has canaries that are not promoted.
	Canaries bool
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
	// Tasks are the tasks that differ.
	Tasks []TaskChange
	// Restarts are groups that get new allocations, InPlace groups that are updated in
	// place.
	Restarts, InPlace []string
	// Unplaced are lines about allocations that could not be placed.
	Unplaced []string
}

// TaskChange is a task that a plan adds, edits or removes.
type TaskChange struct {
	Group, Task string
	Removed     bool
	Meta        map[string]string // the keys that the plan names, with their new values
}

// Change is a registration or a revert.
type Change struct {
	Ref
	// Job is in the JSON of Nomad's API; nil to revert to version To.
	Job []byte
	To  uint64
	// From is the version with the submission that a registration keeps; for a revert, the
	// current version.
	From uint64
	// ModifyIndex must equal the job's modify index at registration.
	ModifyIndex uint64
	// KeepCounts registers the job with the counts that its groups have now.
	KeepCounts bool
}
