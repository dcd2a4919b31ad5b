package agent

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// machine is the state of the machine before the agent started. It covers the things that Nomad
// and the CNI plugins create on first use and never remove.
type machine struct {
	bridge    string
	nomad     string   // name of the program
	paths     []string // existing sharedPaths
	chains    map[string]bool
	rules     map[string]int
	forward   string // net.ipv4.ip_forward
	netnsBind bool
}

const (
	netnsDir    = "/run/netns"
	forwardFile = "/proc/sys/net/ipv4/ip_forward"
)

// sharedPaths returns directories that all agents of a machine use, parents first: with cgroup
// v1, the cgroups of Nomad and the runtime, and then the ones of v2.
func sharedPaths() []string {
	var paths []string
	// The only error is a malformed pattern.
	hierarchies, _ := filepath.Glob("/sys/fs/cgroup/*/cgroup.procs")
	for _, procs := range hierarchies {
		paths = append(paths, filepath.Join(filepath.Dir(procs), "nomad"))
	}
	return append(paths,
		"/sys/fs/cgroup/cpuset/nomad/share", "/sys/fs/cgroup/cpuset/nomad/reserve",
		"/sys/fs/cgroup/nomad.slice", "/sys/fs/cgroup/nomad.slice/share.slice", "/sys/fs/cgroup/nomad.slice/reserve.slice",
		netnsDir,
		"/run/cni", "/run/cni/nomad",
		"/var/lib/cni", "/var/lib/cni/networks", "/var/lib/cni/networks/nomad", "/var/lib/cni/results",
	)
}

// addressFiles returns the names of the files that host-local leaves in a network's directory.
func addressFiles() []string {
	return []string{"lock", "last_reserved_ip.0"}
}

func inspect() (machine, error) {
	m := machine{}
	for _, path := range sharedPaths() {
		if _, err := os.Stat(path); err == nil {
			m.paths = append(m.paths, path)
		}
	}
	var err error
	if m.netnsBind, err = mountinfo.Mounted(netnsDir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return m, fmt.Errorf("stat %s: %w", netnsDir, err)
	}
	forward, err := os.ReadFile(forwardFile)
	if err != nil {
		return m, err
	}
	m.forward = string(forward)
	m.chains, m.rules, err = iptables()
	return m, err
}

// restoring is held while an agent restores the machine, so that no agent removes what another
// one is listing.
var restoring sync.Mutex

// restore removes what did not exist before. It continues after an error. Agents on one machine
// share everything but their bridge, so the last one removes it.
func (m machine) restore() error {
	restoring.Lock()
	defer restoring.Unlock()
	others, err := programRuns(m.nomad)
	errs := []error{err, m.removeBridge(), m.restoreIPTables(others)}
	if err != nil || others {
		return errors.Join(errs...)
	}
	return errors.Join(append(errs, m.restoreForwarding(), m.restoreNetns(), m.restorePaths())...)
}

func (m machine) removeBridge() error {
	if _, err := net.InterfaceByName(m.bridge); err != nil {
		return nil
	}
	return run("ip", "link", "delete", m.bridge)
}

func (m machine) restoreForwarding() error {
	now, err := os.ReadFile(forwardFile)
	if err != nil || string(now) == m.forward {
		return nil
	}
	return os.WriteFile(forwardFile, []byte(m.forward), 0o644)
}

// iptables lists the chains as "table chain" and the rules as "table -A …", with the number of
// times each occurs.
func iptables() (chains map[string]bool, rules map[string]int, err error) {
	out, err := exec.Command("iptables-save").Output()
	if err != nil {
		return nil, nil, fmt.Errorf("iptables-save: %w", err)
	}
	chains, rules = map[string]bool{}, map[string]int{}
	table := ""
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "*"):
			table = line[1:]
		case strings.HasPrefix(line, ":"):
			chain, _, _ := strings.Cut(line[1:], " ")
			chains[table+" "+chain] = true
		case strings.HasPrefix(line, "-A "):
			rules[table+" "+line]++
		}
	}
	return chains, rules, nil
}

// restoreIPTables removes new rules of Nomad and CNI, then their new chains. If other agents
// run, it removes only the rules of this agent's bridge.
func (m machine) restoreIPTables(others bool) error {
	chains, rules, err := iptables()
	if err != nil {
		return err
	}
	var script bytes.Buffer
	for _, table := range []string{"filter", "nat"} {
		fmt.Fprintf(&script, "*%s\n", table)
		for rule, n := range rules {
			if spec, ok := strings.CutPrefix(rule, table+" -A "); ok && ours(spec) && (!others || slices.Contains(strings.Fields(spec), m.bridge)) {
				script.WriteString(strings.Repeat("-D "+spec+"\n", max(0, n-m.rules[rule])))
			}
		}
		for chain := range chains {
			if name, ok := strings.CutPrefix(chain, table+" "); ok && ours(name) && !m.chains[chain] && !others {
				fmt.Fprintf(&script, "-X %s\n", name)
			}
		}
		script.WriteString("COMMIT\n")
	}
	if !bytes.Contains(script.Bytes(), []byte("-")) {
		return nil
	}
	cmd := exec.Command("iptables-restore", "--noflush")
	cmd.Stdin = &script
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("remove iptables rules: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// ours reports whether spec is a chain of Nomad or a CNI plugin, or a rule in or to one.
func ours(spec string) bool {
	return slices.ContainsFunc(strings.Fields(spec), func(word string) bool {
		return strings.HasPrefix(word, "CNI-") || word == "NOMAD-ADMIN"
	})
}

// restoreNetns undoes the bind mount of the network namespace directory on itself, which the
// first user of a network namespace creates.
func (m machine) restoreNetns() error {
	if m.netnsBind {
		return nil
	}
	bound, err := mountinfo.Mounted(netnsDir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !bound {
		return nil
	}
	if left, err := os.ReadDir(netnsDir); err != nil || len(left) > 0 {
		return err // other agents use it now
	}
	return unix.Unmount(netnsDir, 0)
}

// restorePaths removes the sharedPaths that are new and unused.
func (m machine) restorePaths() error {
	var errs []error
	for _, path := range slices.Backward(sharedPaths()) {
		if slices.Contains(m.paths, path) {
			continue
		}
		if filepath.Base(path) == "nomad" && strings.Contains(path, "/cni/") {
			errs = append(errs, removeAddressFiles(path))
		}
		err := os.Remove(path)
		inUse := errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EBUSY)
		if err != nil && !inUse && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// removeAddressFiles empties a network's directory in which no address is in use.
func removeAddressFiles(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > len(addressFiles()) {
		return nil
	}
	var errs []error
	for _, name := range addressFiles() {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// mountsBelow returns the mount points below a directory.
func mountsBelow(dir string) ([]string, error) {
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	var points []string
	for _, m := range mounts {
		points = append(points, m.Mountpoint)
	}
	return points, nil
}

func run(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
