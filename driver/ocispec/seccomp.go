package ocispec

import (
	"fmt"
	"maps"
	"slices"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// setSeccomp sets a profile in docker's JSON, the default one if it is empty, or none.
func setSeccomp(s *specs.Spec, profile string) (err error) {
	switch profile {
	case SeccompUnconfined:
	case "":
		if s.Linux.Seccomp, err = defaultSeccomp(s); err != nil {
			return fmt.Errorf("default seccomp profile: %w", err)
		}
	default:
		if s.Linux.Seccomp, err = seccomp.LoadProfile(profile, s); err != nil {
			return fmt.Errorf("seccomp profile: %w", err)
		}
	}
	return nil
}

// defaultSeccomp returns moby's profile with other errors. System calls that are denied on purpose
// fail with EPERM, and those that the profile does not know with ENOSYS, which makes libraries
// fall back to older calls. runc does the latter on its own for calls newer than the profile, crun
// does not.
func defaultSeccomp(s *specs.Spec) (*specs.LinuxSeccomp, error) {
	profile, err := seccomp.GetDefaultProfile(s)
	if err != nil {
		return nil, err
	}
	unknown, denied := uint(unix.ENOSYS), uint(unix.EPERM)
	profile.DefaultErrnoRet = &unknown
	profile.Syscalls = append(profile.Syscalls, specs.LinuxSyscall{
		Names: deniedCalls(profile), Action: specs.ActErrno, ErrnoRet: &denied,
	})
	for _, rule := range conditionallyDenied(profile) {
		rule.Action, rule.ErrnoRet = specs.ActErrno, &denied
		profile.Syscalls = append(profile.Syscalls, rule)
	}
	return profile, nil
}

// deniedCalls lists the system calls that moby's profile knows, or that docker documents as
// blocked, and that no rule of the given profile mentions.
func deniedCalls(profile *specs.LinuxSeccomp) []string {
	denied := map[string]bool{}
	for _, name := range blockedCalls {
		denied[name] = true
	}
	for _, rule := range seccomp.DefaultProfile().Syscalls {
		for _, name := range rule.Names {
			denied[name] = true
		}
	}
	for _, rule := range profile.Syscalls {
		for _, name := range rule.Names {
			delete(denied, name)
		}
	}
	return slices.Sorted(maps.Keys(denied))
}

// blockedCalls are blocked according to docker's documentation of its profile, or give rights of
// the same kind, and are in no rule of it.
var blockedCalls = []string{
	"_sysctl", "add_key", "create_module", "get_kernel_syms", "io_uring_enter", "io_uring_register", "io_uring_setup",
	"kexec_file_load", "kexec_load", "keyctl", "move_pages", "nfsservctl", "personality", "pivot_root", "query_module",
	"request_key", "swapoff", "swapon", "sysfs", "uselib", "userfaultfd", "ustat", "vm86", "vm86old",
}

// allowsFamily reports whether a profile permits sockets of an address family.
func allowsFamily(profile *specs.LinuxSeccomp, family uint64) bool {
	return slices.ContainsFunc(profile.Syscalls, func(rule specs.LinuxSyscall) bool {
		if !slices.Equal(rule.Names, []string{"socket"}) || len(rule.Args) != 1 {
			return false
		}
		arg := rule.Args[0]
		return arg.Op == specs.OpEqualTo && family == arg.Value || arg.Op == specs.OpLessThan && family < arg.Value ||
			arg.Op == specs.OpGreaterThan && family > arg.Value
	})
}

// conditionallyDenied complements rules that permit a call for some arguments, so that others fail
// with EPERM: clone with flags for namespaces, and the socket families that moby blocks.
func conditionallyDenied(profile *specs.LinuxSeccomp) []specs.LinuxSyscall {
	rule := func(name string, arg specs.LinuxSeccompArg) specs.LinuxSyscall {
		return specs.LinuxSyscall{Names: []string{name}, Args: []specs.LinuxSeccompArg{arg}}
	}
	var rules []specs.LinuxSyscall
	for family := range uint64(unix.AF_MAX) {
		if !allowsFamily(profile, family) {
			rules = append(rules, rule("socket", specs.LinuxSeccompArg{Value: family, Op: specs.OpEqualTo}))
		}
	}
	for _, allowed := range profile.Syscalls {
		if !slices.Equal(allowed.Names, []string{"clone"}) || len(allowed.Args) != 1 || allowed.Args[0].Op != specs.OpMaskedEqual {
			continue
		}
		for flag := uint64(1); flag != 0; flag <<= 1 {
			arg := allowed.Args[0]
			if arg.Value&flag != 0 {
				arg.Value, arg.ValueTwo = flag, flag
				rules = append(rules, rule("clone", arg))
			}
		}
	}
	return rules
}
