package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"
)

// openFiles returns the number of files of a group that this process has open.
func openFiles(t *testing.T, g Group) int {
	t.Helper()
	links, err := filepath.Glob("/proc/self/fd/*")
	must.NoError(t, err)
	n := 0
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil && strings.Contains(to, g.path+"/") {
			n++
		}
	}
	return n
}

func TestMeter_KeepsFilesOpen(t *testing.T) {
	g := group(t)
	g.create(t)
	m := g.Meter()
	must.Eq(t, 0, openFiles(t, g), must.Sprint("before the first reading"))
	_, err := m.Stats()
	must.NoError(t, err)
	n := openFiles(t, g)
	must.Between(t, 5, n, len(g.sources()))
	_, err = m.Stats()
	must.NoError(t, err)
	must.Eq(t, n, openFiles(t, g))
	m.Close()
	m.Close()
	must.Eq(t, 0, openFiles(t, g))
	must.Eq(t, 0, keptFiles.Load())
}

// TestMeter_OpenFilesLimited checks that statistics do not use up the descriptors that tasks need.
func TestMeter_OpenFilesLimited(t *testing.T) {
	g := group(t)
	g.create(t)
	busy := mayKeep() - 1
	keptFiles.Add(busy)
	defer keptFiles.Add(-busy)
	m := g.Meter()
	defer m.Close()
	s, err := m.Stats()
	must.NoError(t, err)
	must.Eq(t, 0, openFiles(t, g))
	must.Eq(t, busy, keptFiles.Load())
	again, err := m.Stats()
	must.NoError(t, err)
	must.Eq(t, s.Memory.MaxUsage, again.Memory.MaxUsage)
}

func TestMeter_OutlivesGroup(t *testing.T) {
	g := group(t)
	m := g.Meter()
	defer m.Close()
	_, err := m.Stats()
	must.ErrorIs(t, err, os.ErrNotExist)
	g.create(t)
	_, err = m.Stats()
	must.NoError(t, err)
	must.NoError(t, g.Remove())
	_, err = m.Stats()
	must.ErrorIs(t, err, unix.ENODEV)
	must.Eq(t, 0, openFiles(t, g))
	g.create(t)
	_, err = m.Stats()
	must.NoError(t, err, must.Sprint("statistics of the new cgroup"))
}

// TestMeter_IdleGroup checks that the statistics of an idle group are read only occasionally, and
// that a group that stays idle keeps one file open.
func TestMeter_IdleGroup(t *testing.T) {
	g := group(t)
	g.create(t)
	m := g.Meter()
	defer m.Close()
	first, err := m.Stats()
	must.NoError(t, err)
	all := openFiles(t, g)
	// Make reading this file fail.
	last := len(m.files) - 2
	null, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	must.NoError(t, err)
	must.NoError(t, unix.Close(m.files[last]))
	m.files[last] = null
	for range restReadings - 1 {
		s, err := m.Stats()
		must.NoError(t, err)
		must.Eq(t, first, s)
	}
	_, err = m.Stats()
	must.ErrorContains(t, err, g.sources()[last].name)

	for range 1 + restReadings {
		_, err = m.Stats()
		must.NoError(t, err)
	}
	must.Eq(t, 1, openFiles(t, g))
	must.Eq(t, 1, keptFiles.Load())
	m.last.CPU.TotalNanos-- // as if a process had run since
	_, err = m.Stats()
	must.NoError(t, err)
	must.Eq(t, all, openFiles(t, g))
}

// TestMeter_NoUsageFile checks that everything is read each time if CPU usage is not available.
func TestMeter_NoUsageFile(t *testing.T) {
	g := group(t)
	g.create(t)
	m := g.Meter()
	defer m.Close()
	_, err := m.Stats()
	must.NoError(t, err)
	must.NoError(t, unix.Close(m.files[0]))
	m.files[0] = -1
	m.last.Memory.MaxUsage++
	was := m.last
	s, err := m.Stats()
	must.NoError(t, err)
	must.NotEq(t, was, s)
}

// BenchmarkStats compares files that are kept open with files that are opened for each reading.
func BenchmarkStats(b *testing.B) {
	v, err := Detect()
	if err != nil || os.Geteuid() != 0 {
		b.Skip("needs cgroups and root")
	}
	g := At(v, fmt.Sprintf("/nomad-driver-pod-test-%d", os.Getpid()))
	g.create(b)
	defer func() { must.NoError(b, g.Remove()) }()
	for _, keeps := range []bool{false, true} {
		b.Run(fmt.Sprintf("keeps=%t", keeps), func(b *testing.B) {
			b.ReportAllocs()
			m := g.Meter()
			defer m.Close()
			for b.Loop() {
				m.lasts = 0
				_, err := m.Stats()
				must.NoError(b, err)
				if !keeps {
					m.Close()
				}
			}
		})
	}
}
