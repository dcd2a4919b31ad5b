// Package ocispec converts the description of a container to an OCI
// runtime-spec (https://github.com/opencontainers/runtime-spec).
//
// It is pure: it reads nothing from the host, creates nothing, and knows
// neither Nomad nor images. The caller has resolved users, paths and
// image defaults, and has checked permissions.
package ocispec

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// Container describes one container. Paths without "Host" in their name are paths inside
// it.
type Container struct {
	// RootHostPath is the directory that becomes "/".
	RootHostPath string
	// SysHostPath is a sysfs of the host to bind instead of mounting one, for a container in a user
	// namespace that does not own its network namespace.
	SysHostPath  string
	ReadonlyRoot bool

	Args    []string // the program and its arguments; at least the program
	Env     []string // NAME=value
	WorkDir string   // absolute; empty means "/"
	User    User
	TTY     bool

	// Hostname requires a UTS namespace of the container's own.
	Hostname    string
	Namespaces  []Namespace
	Mounts      []Mount // in order, after the standard ones
	Devices     []specs.LinuxDevice
	DeviceRules []specs.LinuxDeviceCgroup // after the default allow list

	CgroupPath string // from the root of the hierarchy
	Limits     Limits

	Capabilities []string // CAP_…; of a process of root
	// Ambient is the subset of Capabilities that a process of another user has too.
	Ambient  []string
	Security Security
	// Unconfined disables seccomp, masked and read-only paths and no_new_privs, makes /sys
	// writable and allows every device. It is for privileged tasks.
	Unconfined bool

	Rlimits     []specs.POSIXRlimit
	Sysctl      map[string]string // in the container's namespaces
	OOMScoreAdj int               // 0 to 1000

	Annotations map[string]string
}

// Security configures the confinement of a container. The zero value is the most restrictive.
type Security struct {
	// SeccompProfile is a profile in docker's JSON, "" for the default one, or
	// SeccompUnconfined.
	SeccompProfile string
	// NewPrivileges lets set-uid programs raise privileges.
	NewPrivileges bool
	AppArmor      string // name of a loaded profile
}

// SeccompUnconfined disables seccomp.
const SeccompUnconfined = "unconfined"

// User is the user of the process. Ids are those inside the container.
type User struct {
	UID, GID   uint32
	Additional []uint32
}

// Namespace is a namespace that the container creates, or joins at a path.
// Kinds that are not listed are the host's.
type Namespace struct {
	Kind specs.LinuxNamespaceType
	Path string // "" makes a new one
}

// Mount is a bind mount, or a file system such as tmpfs or mqueue.
type Mount struct {
	Target, Source, Type string
	Options              []string
}

// Propagates reports whether mounts propagate between the host and this mount, in either
// direction.
func (m Mount) Propagates() bool {
	return slices.ContainsFunc(m.Options, func(o string) bool {
		return strings.HasSuffix(o, "shared") || strings.HasSuffix(o, "slave")
	})
}

// BindFile returns the bind mount of a single file of the host.
func BindFile(source, target string, readonly bool) Mount {
	mode := "rw"
	if readonly {
		mode = "ro" // crun 1.8 takes "rro" for directories only
	}
	return Mount{Target: target, Source: source, Type: "bind", Options: []string{"bind", mode, "nosuid", "nodev", "rprivate"}}
}

// Bind returns the recursive bind mount of a directory of the host. Read-only applies to
// submounts too.
func Bind(source, target string, readonly bool) Mount {
	mode := "rw"
	if readonly {
		mode = "rro"
	}
	return Mount{Target: target, Source: source, Type: "bind", Options: []string{"rbind", mode, "nosuid", "nodev", "rprivate"}}
}

// Limits are enforced by the kernel. Zero means none.
type Limits struct {
	MemoryBytes            int64
	MemoryReservationBytes int64
	// MemorySwapBytes limits memory and swap together. -1 is unlimited swap; MemoryBytes
	// is no swap.
	MemorySwapBytes int64
	CPUShares       uint64
	CPUQuotaMicros  int64
	CPUPeriodMicros uint64
	CPUSet          string // "0-3,7"
	Processes       int64
}

// maxCPUShares is the maximum of cpu.shares (kernel/sched, MAX_SHARES); crun and runc
// refuse or clamp larger values.
const maxCPUShares = 262144

// Build returns the runtime-spec. It returns an error only if the description is
// inconsistent.
func Build(c Container) (*specs.Spec, error) {
	if len(c.Args) == 0 || c.Args[0] == "" {
		return nil, fmt.Errorf("container has no command")
	}
	if c.WorkDir == "" {
		c.WorkDir = "/"
	}
	s := &specs.Spec{
		Version:     "1.0.2", // what runc 1.1 and crun 1.8 both take
		Root:        &specs.Root{Path: c.RootHostPath, Readonly: c.ReadonlyRoot},
		Hostname:    c.Hostname,
		Process:     process(c),
		Mounts:      append(standardMounts(c), mounts(c.Mounts)...),
		Annotations: c.Annotations,
		Linux: &specs.Linux{
			Namespaces:  namespaces(c.Namespaces),
			CgroupsPath: c.CgroupPath,
			Resources:   resources(c),
			Devices:     c.Devices,
			Sysctl:      c.Sysctl,

			RootfsPropagation: rootPropagation(c.Mounts),
		},
	}
	if c.Unconfined {
		return s, nil
	}
	s.Process.NoNewPrivileges = !c.Security.NewPrivileges
	s.Process.ApparmorProfile = c.Security.AppArmor
	s.Linux.MaskedPaths = maskedPaths()
	s.Linux.ReadonlyPaths = readonlyPaths()
	return s, setSeccomp(s, c.Security.SeccompProfile)
}

// CheckSeccomp returns an error if a profile is invalid.
func CheckSeccomp(profile string) error {
	_, err := seccomp.LoadProfile(profile, &specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{}}})
	return err
}

func process(c Container) *specs.Process {
	caps := append([]string(nil), c.Capabilities...)
	sort.Strings(caps)
	p := &specs.Process{
		Terminal: c.TTY,
		Args:     c.Args,
		Env:      c.Env,
		Cwd:      c.WorkDir,
		User:     specs.User{UID: c.User.UID, GID: c.User.GID, AdditionalGids: c.User.Additional},
		// Nomad's unit sets -1000, which a task must not inherit.
		OOMScoreAdj:  &c.OOMScoreAdj,
		Rlimits:      c.Rlimits,
		Capabilities: &specs.LinuxCapabilities{Bounding: caps},
	}
	// Users other than root have only ambient capabilities until a set-uid program or a file
	// capability grants others (capabilities(7)).
	own := caps
	if c.User.UID != 0 {
		own = slices.DeleteFunc(slices.Clone(caps), func(name string) bool { return !slices.Contains(c.Ambient, name) })
		p.Capabilities.Inheritable = own
		p.Capabilities.Ambient = own
	}
	p.Capabilities.Effective = own
	p.Capabilities.Permitted = own
	return p
}

func namespaces(list []Namespace) []specs.LinuxNamespace {
	out := make([]specs.LinuxNamespace, 0, len(list))
	for _, n := range list {
		out = append(out, specs.LinuxNamespace{Type: n.Kind, Path: n.Path})
	}
	return out
}

func mounts(list []Mount) []specs.Mount {
	out := make([]specs.Mount, 0, len(list))
	for _, m := range list {
		out = append(out, specs.Mount{Destination: m.Target, Source: m.Source, Type: m.Type, Options: m.Options})
	}
	return out
}

// rootPropagation returns the propagation that the root needs for the given mounts, since
// crun makes everything private otherwise. "" is the runtime's default.
func rootPropagation(list []Mount) string {
	root := ""
	for _, m := range list {
		for _, o := range m.Options {
			switch o {
			case "shared", "rshared":
				return "shared"
			case "slave", "rslave":
				root = "rslave"
			}
		}
	}
	return root
}

func resources(c Container) *specs.LinuxResources {
	l := c.Limits
	r := &specs.LinuxResources{
		Devices: append(defaultDeviceRules(), c.DeviceRules...),
		Memory:  &specs.LinuxMemory{},
		CPU:     &specs.LinuxCPU{Cpus: l.CPUSet},
	}
	if c.Unconfined {
		r.Devices = append(r.Devices, specs.LinuxDeviceCgroup{Allow: true, Access: "rwm"})
	}
	r.Memory.Limit = positive(l.MemoryBytes)
	r.Memory.Reservation = positive(l.MemoryReservationBytes)
	r.Memory.Swap = positive(l.MemorySwapBytes)
	if l.MemorySwapBytes < 0 {
		r.Memory.Swap = &l.MemorySwapBytes
	}
	if l.CPUShares > 0 {
		shares := min(max(l.CPUShares, 2), maxCPUShares) // 2 is the kernel's minimum
		r.CPU.Shares = &shares
	}
	if l.CPUQuotaMicros > 0 {
		r.CPU.Quota = &l.CPUQuotaMicros
		r.CPU.Period = &l.CPUPeriodMicros
	}
	if l.Processes > 0 {
		r.Pids = &specs.LinuxPids{Limit: &l.Processes}
	}
	return r
}

func positive(n int64) *int64 {
	if n <= 0 {
		return nil
	}
	return &n
}
