package driver

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nomad-sidecar/nomad-sidecar/driver/ocispec"
)

// idRange is a range of user or group ids, both ends included.
type idRange struct{ first, last uint32 }

// parseIDs parses ids and ranges such as "0,100-199", the format of denied_host_uids of Nomad's exec
// driver.
func parseIDs(text string) ([]idRange, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	var out []idRange
	for _, part := range strings.Split(text, ",") {
		low, high, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			high = low
		}
		first, err := strconv.ParseUint(low, 10, 32)
		last, lerr := strconv.ParseUint(high, 10, 32)
		if err := errors.Join(err, lerr); err != nil || first > last {
			return nil, fmt.Errorf("%q is not an id or a range of ids such as \"100-199\"", part)
		}
		out = append(out, idRange{uint32(first), uint32(last)})
	}
	return out, nil
}

func within(id uint32, ranges []idRange) bool {
	for _, r := range ranges {
		if id >= r.first && id <= r.last {
			return true
		}
	}
	return false
}

// allowHostUser returns an error for a user that a task without an image may not run as. Its ids
// are host ids, and the task sees files of the host.
func (s settings) allowHostUser(u ocispec.User) error {
	if within(u.UID, s.deniedUIDs) {
		return fmt.Errorf("uid %d is not allowed for a task without an image: the operator's denied_host_uids is %q; use another user or an image", u.UID, s.DeniedHostUIDs)
	}
	for _, gid := range append([]uint32{u.GID}, u.Additional...) {
		if within(gid, s.deniedGIDs) {
			return fmt.Errorf("gid %d is not allowed for a task without an image: the operator's denied_host_gids is %q; use another user or an image", gid, s.DeniedHostGIDs)
		}
	}
	return nil
}
