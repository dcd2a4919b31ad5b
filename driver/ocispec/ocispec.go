// Package ocispec turns the description of a container into an OCI
// runtime-spec (https://github.com/opencontainers/runtime-spec).
//
// It is pure: it reads nothing from the host, makes nothing, and knows
// neither Nomad nor images. Whoever calls it has resolved users, paths and
// image defaults already, and has decided what is allowed.
package ocispec

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// Container describes one container. Paths without "Host" in their name are
// seen from inside.
type Container struct {
	// RootHostPath is the directory that becomes "/".
	RootHostPath string
	ReadonlyRoot bool

	Args    []string // the program and its arguments; at least the program
	Env     []string // NAME=value
	WorkDir string   // absolute; "/" where empty
	User    User
	TTY     bool

	// Hostname is set only in a UTS namespace that the container makes.
	Hostname    string
	Namespaces  []Namespace
	Mounts      []Mount // in order, after the standard ones
	Devices     []specs.LinuxDevice
	DeviceRules []specs.LinuxDeviceCgroup // after the default allow list

	CgroupPath string // from the root of the hierarchy
	Limits     Limits

	Capabilities []string // CAP_…; those a process of root has
	// Ambient are those of Capabilities that a process of another user has as well.
	Ambient  []string
	Security Security
	// Unconfined leaves out seccomp, masked and read-only paths and
	// no_new_privs, makes /sys writable and allows every device. It is for
	// tasks that an operator allowed to be privileged.
	Unconfined bool

	Rlimits     []specs.POSIXRlimit
	Sysctl      map[string]string // in the container's namespaces
	OOMScoreAdj int               // 0 to 1000

	Annotations map[string]string
}

// Security changes how a container is confined. The zero value is the safe
// one.
type Security struct {
	// SeccompProfile is a profile in docker's JSON; the default one where
	// empty, none where it is SeccompUnconfined.
	SeccompProfile string
	// NewPrivileges lets set-uid programs give rights.
	NewPrivileges bool
	AppArmor      string // name of a loaded profile
}

// SeccompUnconfined stands for no seccomp profile at all.
const SeccompUnconfined = "unconfined"

// User is who the process runs as. Numbers are those inside the container.
type User struct {
	UID, GID   uint32
	Additional []uint32
}

// Namespace is a namespace the container has of its own, or joins at a path.
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

// Propagates tells whether the mount hears of mounts on the host, or the host
// of its.
func (m Mount) Propagates() bool {
	return slices.ContainsFunc(m.Options, func(o string) bool {
		return strings.HasSuffix(o, "shared") || strings.HasSuffix(o, "slave")
	})
}

// BindFile describes the bind mount of a single file of the host.
func BindFile(source, target string, readonly bool) Mount {
	mode := "rw"
	if readonly {
		mode = "ro" // crun 1.8 takes "rro" for directories only
	}
	return Mount{Target: target, Source: source, Type: "bind", Options: []string{"bind", mode, "nosuid", "nodev", "rprivate"}}
}

// Bind describes the bind mount of a directory of the host with all that is
// mounted below it. Read-only holds for that as well.
func Bind(source, target string, readonly bool) Mount {
	mode := "rw"
	if readonly {
		mode = "rro"
	}
	return Mount{Target: target, Source: source, Type: "bind", Options: []string{"rbind", mode, "nosuid", "nodev", "rprivate"}}
}

// Limits are what the kernel enforces. Zero means none.
type Limits struct {
	MemoryBytes            int64
	MemoryReservationBytes int64
	// MemorySwapBytes is memory and swap together, -1 as much swap as there
	// is; equal to MemoryBytes there is no swap.
	MemorySwapBytes int64
	CPUShares       uint64
	CPUQuotaMicros  int64
	CPUPeriodMicros uint64
	CPUSet          string // "0-3,7"
	Processes       int64
}

// maxCPUShares is the most that cpu.shares takes (kernel/sched, MAX_SHARES);
// crun and runc refuse or clamp what is above.
const maxCPUShares = 262144

// Build makes the runtime-spec. It fails only where the description makes no
// sense.
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

// CheckSeccomp says what is wrong with a profile.
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

// rootPropagation is what the root needs where a mount is to hear of those on
// the host, or the host of its: crun cuts all off otherwise. Empty is the
// runtime's own choice.
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
		shares := min(max(l.CPUShares, 2), maxCPUShares) // 2 is the kernel's least
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
