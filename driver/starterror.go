package driver

import (
	"errors"
	"fmt"

	"github.com/hashicorp/nomad/nomad/structs"

	"github.com/nomad-sidecar/nomad-sidecar/driver/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/driver/cdi"
	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
)

// errTaskConfig is wrapped by errors about a task's configuration.
var errTaskConfig = errors.New("invalid task config")

// startError returns err as StartTask must return it to Nomad: with its recoverability outermost,
// since Nomad checks it without unwrapping (plugins/drivers/server.go). Nomad applies the job's
// restart block to recoverable errors only. The text is bounded and names the recoverability.
func startError(err error) error {
	if err == nil {
		return nil
	}
	again := recoverable(err)
	if again {
		err = fmt.Errorf("%w; Nomad tries again as the task's restart block says", err)
	}
	return structs.NewRecoverableError(bounds.Error(err), again)
}

// recoverable reports whether the same start may succeed later. Errors that only a change of the
// job, the image or the plugin's configuration can fix are final. All others are recoverable: an
// unreachable registry, timeouts, failed readiness checks, and trouble of the runtime or the host.
func recoverable(err error) bool {
	if errors.Is(err, cdi.ErrMissing) {
		return true
	}
	for _, final := range finalErrors() {
		if errors.Is(err, final) {
			return false
		}
	}
	return true
}

// finalErrors lists the errors that a restart cannot fix. A missing image is among them, as for
// Nomad's docker driver.
func finalErrors() []error {
	return []error{
		errTaskConfig, pod.ErrInvalid,
		image.ErrInvalidReference, image.ErrInvalidConfig, image.ErrNotFound, image.ErrUnauthorized,
		image.ErrInvalidImage, image.ErrPlatform, image.ErrRejected, image.ErrNoIDMap,
	}
}
