package driver

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/nomad-sidecar/nomad-sidecar/driver/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
	"github.com/nomad-sidecar/nomad-sidecar/driver/userns"
)

// autoUserns is the value of userns for a user namespace of the pod.
const autoUserns = "auto"

// maxUsernsID is above all ids of a pool: the kernel's largest group that may send pings, and the
// largest id that runtimes accept.
const maxUsernsID = 1 << 31

// pool returns the pool of ids, which is empty if the block is missing.
func (c UsernsConfig) pool() (userns.Pool, error) {
	if c.First == 0 && c.Size == 0 {
		if c.Required {
			return userns.Pool{}, errors.New("userns: required is set, and first and size are not: set them to ids that no user of the host has")
		}
		return userns.Pool{}, nil
	}
	if c.First < userns.Size || c.Size < userns.Size || c.First > maxUsernsID-c.Size {
		return userns.Pool{}, fmt.Errorf("userns: first = %d, size = %d: want a first id from %d on, at least %d ids, and a last one below %d",
			c.First, c.Size, userns.Size, userns.Size, maxUsernsID)
	}
	pool := userns.Pool{First: uint32(c.First), Count: uint32(c.Size)}
	return pool, errors.Join(
		checkIDs(pool, "/etc/passwd", 2, 0), checkIDs(pool, "/etc/group", 2, 0),
		checkIDs(pool, "/etc/subuid", 1, 2), checkIDs(pool, "/etc/subgid", 1, 2),
	)
}

// ownSubids is the name for which /etc/subuid and /etc/subgid may have the ids of the pool, so that
// useradd gives them to no user.
const ownSubids = "nomad-driver-pod"

// checkIDs returns an error if a user or group in a file of colon-separated fields has ids of a
// pool. first and count are the fields with the first id and the number of ids, or 0 if there is one.
func checkIDs(pool userns.Pool, path string, first, count int) error {
	const maxFileBytes = 16 << 20
	b, err := bounds.ReadFile(path, maxFileBytes)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("userns: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		fields := strings.Split(strings.TrimSpace(line), ":")
		if len(fields) <= max(first, count) || fields[0] == ownSubids {
			continue
		}
		id, err := strconv.ParseUint(fields[first], 10, 32)
		n := uint64(1)
		if err == nil && count > 0 {
			n, err = strconv.ParseUint(fields[count], 10, 32)
		}
		if err == nil && id < uint64(pool.First)+uint64(pool.Count) && uint64(pool.First) < id+n {
			return fmt.Errorf("userns: first = %d, size = %d: ids from %d on belong to %q in %s; use others", pool.First, pool.Count, id, fields[0], path)
		}
	}
	return nil
}

// setUserns selects the user namespace.
func (s settings) setUserns(t *pod.Task, c TaskConfig) error {
	if c.Userns != "" && c.UsernsMode != "" && c.Userns != c.UsernsMode {
		return fmt.Errorf("userns = %q and userns_mode = %q contradict each other: leave one of them out", c.Userns, c.UsernsMode)
	}
	key, mode := "userns", c.Userns
	if c.UsernsMode != "" {
		key, mode = "userns_mode", c.UsernsMode
	}
	switch {
	case mode == hostMode && s.Userns.Required:
		return fmt.Errorf("%s = \"host\" is not allowed here: the operator's userns { required = true } gives every pod a user namespace of its own; leave %s out", key, key)
	case mode == hostMode, mode == "" && !s.Userns.Required:
		return nil
	case mode == "":
		key = "userns { required = true } of the operator"
	case mode != autoUserns:
		return fmt.Errorf("%s = %q: want \"host\" for the host's user namespace, or \"auto\" for one of the pod; to run as another user, set the task's user", key, mode)
	case s.pool.Ranges() == 0:
		return fmt.Errorf("%s = \"auto\": there are no ids for pods here: the operator can set userns { first = …, size = … } in the plugin's config", key)
	default:
		key += ` = "auto"`
	}
	t.Userns = true
	return checkUserns(t, c, key)
}

// checkUserns refuses what needs root of the host, as docker does.
func checkUserns(t *pod.Task, c TaskConfig, key string) error {
	var errs []error
	for _, other := range []struct {
		name string
		set  bool
	}{
		{"privileged = true", c.Privileged},
		{`pid_mode = "host"`, c.PidMode == hostMode}, {`ipc_mode = "host"`, c.IPCMode == hostMode}, {`uts_mode = "host"`, c.UTSMode == hostMode},
		{"sysctl kernel.domainname", c.Sysctl["kernel.domainname"] != ""},
	} {
		if other.set {
			errs = append(errs, fmt.Errorf("%s and %s contradict each other: it needs root of the host; leave it out", other.name, key))
		}
	}
	for _, d := range c.Devices {
		if d.ContainerPath != "" && d.ContainerPath != d.HostPath {
			errs = append(errs, fmt.Errorf("devices: container_path = %q and %s contradict each other: in a user namespace a device has the path that it has on the host; leave container_path out", d.ContainerPath, key))
		}
	}
	return errors.Join(errs...)
}
