package cluster

import "errors"

// ErrNotHealthy is wrapped by the errors of jobs that were registered but did not
// come up.
var ErrNotHealthy = errors.New("the job did not become healthy")
