package cluster

import "errors"

// ErrNotHealthy is wrapped by the errors of jobs that were registered but did not
// come up.
var ErrNotHealthy = errors.New("the job did not become healthy")

// errNoID is that of a job whose place in Nomad's API nobody could tell.
var errNoID = errors.New("the job has no ID: give it one")

// ErrNoJob is wrapped by the errors of requests for a job that is not there.
var ErrNoJob = errors.New("there is no such job")
