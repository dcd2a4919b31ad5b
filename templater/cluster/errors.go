package cluster

import (
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/nomad/api"
)

// ErrNotHealthy is wrapped by errors about registered jobs that did not become healthy.
var ErrNotHealthy = errors.New("the job did not become healthy")

// errNoID means that a job has no ID and so no path in Nomad's API.
var errNoID = errors.New("the job has no ID: set one")

// ErrNotAddressable means that the API has no path for a job.
var ErrNotAddressable = errors.New("the API of Nomad cannot address a job with this ID, which ends like one of its own paths")

// ErrNoJob is wrapped by errors about jobs that do not exist.
var ErrNoJob = errors.New("there is no such job")

// ErrConflict is wrapped by errors about jobs with an unexpected modify index or version.
var ErrConflict = errors.New("the job was registered again")

// ErrReverted is wrapped by errors about deployments that Nomad has reverted.
var ErrReverted = errors.New("the job was reverted by Nomad")

// IsAnswer reports whether an error is an answer of Nomad, which concerns one request. Other
// errors, such as a lost connection, concern all.
func IsAnswer(err error) bool {
	var answer api.UnexpectedResponseError
	return errors.As(err, &answer) && answer.HasStatusCode()
}

// refused reports whether Nomad has answered that it does not carry out a request.
func refused(err error) bool {
	var answer api.UnexpectedResponseError
	return errors.As(err, &answer) && answer.HasStatusCode() && answer.StatusCode() >= 400 && answer.StatusCode() < 500
}

// conflict marks errors about an unexpected index or version. Nomad identifies them only by
// their text (nomad/job_endpoint.go, Register and Revert).
func conflict(err error) error {
	if strings.Contains(err.Error(), api.RegisterEnforceIndexErrPrefix) || strings.Contains(err.Error(), "enforcing version") {
		return fmt.Errorf("%w: %w", ErrConflict, err)
	}
	return err
}
