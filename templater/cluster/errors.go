package cluster

import "errors"

// ErrNotHealthy is wrapped by errors about registered jobs that did not become healthy.
var ErrNotHealthy = errors.New("the job did not become healthy")

// errNoID means that a job has no ID and so no path in Nomad's API.
var errNoID = errors.New("the job has no ID: give it one")

// ErrNoJob is wrapped by errors about jobs that do not exist.
var ErrNoJob = errors.New("there is no such job")
