package driver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/nomad/structs"
	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
)

func TestStartError_Recoverable(t *testing.T) {
	cases := []struct {
		err  error
		want bool
	}{
		{errTaskConfig, false},
		{pod.ErrInvalid, false},
		{image.ErrInvalidReference, false},
		{image.ErrInvalidConfig, false},
		{image.ErrNotFound, false},
		{image.ErrUnauthorized, false},
		{image.ErrInvalidImage, false},
		{image.ErrPlatform, false},
		{image.ErrRejected, false},
		{image.ErrPullTimeout, true},
		{image.ErrInUse, true},
		{image.ErrClosed, true},
		{unix.ECONNREFUSED, true},
		{unix.ENOSPC, true},
		{context.DeadlineExceeded, true},
		{errors.New("the runtime failed"), true},
	}
	for _, tc := range cases {
		for _, err := range []error{tc.err, fmt.Errorf("start: %w", tc.err), errors.Join(tc.err, errors.New("rollback"))} {
			got := startError(err)
			_, outermost := got.(structs.Recoverable)
			must.True(t, outermost, must.Sprint(err))
			must.Eq(t, tc.want, structs.IsRecoverable(got), must.Sprint(err))
			must.ErrorContains(t, got, tc.err.Error())
			must.Eq(t, tc.want, strings.HasSuffix(got.Error(), "; Nomad tries again as the task's restart block says"), must.Sprint(got))
		}
	}
	must.NoError(t, startError(nil))
	long := startError(errors.New(strings.Repeat("long ", 1000))).Error()
	must.LessEq(t, bounds.TextBytes, len(long))
	must.StrHasSuffix(t, "block says", long)
}
