package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"strconv"
	"time"

	"github.com/moby/sys/user"
	"github.com/prometheus/procfs"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/internal/podprocs"
)

// Pod names the allocation that topz runs in. Fields are empty outside Nomad.
type Pod struct {
	AllocID   string `json:"alloc_id"`
	Namespace string `json:"namespace"`
	Job       string `json:"job"`
	Group     string `json:"group"`
	Task      string `json:"task"` // topz's own
	Hostname  string `json:"hostname"`
}

func podFromEnv(getenv func(string) string) Pod {
	hostname, _ := os.Hostname() // optional label
	return Pod{
		AllocID:   getenv("NOMAD_ALLOC_ID"),
		Namespace: getenv("NOMAD_NAMESPACE"),
		Job:       getenv("NOMAD_JOB_NAME"),
		Group:     getenv("NOMAD_GROUP_NAME"),
		Task:      getenv("NOMAD_TASK_NAME"),
		Hostname:  hostname,
	}
}

// Snapshot holds all processes of the pod at one time, in no particular order.
type Snapshot struct {
	Pod       Pod       `json:"pod"`
	SampledAt time.Time `json:"sampled_at"`
	Processes []Process `json:"processes"`
}

// sampler reads /proc. It is not safe for concurrent use.
type sampler struct {
	proc     procfs.FS
	bootTime time.Time
	users    map[uint64]string
	pod      Pod
	now      func() time.Time

	previous   map[podprocs.Identity]float64 // CPU seconds
	previousAt time.Time
}

// newSampler reads the boot time and the names of users once. A missing passwd file
// is not an error.
func newSampler(procDir, passwdFile string, pod Pod) (*sampler, error) {
	proc, err := procfs.NewFS(procDir)
	if err != nil {
		return nil, fmt.Errorf("open the proc file system: %w", err)
	}
	stat, err := proc.Stat()
	if err != nil {
		return nil, fmt.Errorf("read the boot time: %w", err)
	}
	known, err := user.ParsePasswdFile(passwdFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read user names: %w", err)
	}
	users := make(map[uint64]string, len(known))
	for _, u := range known {
		if _, taken := users[uint64(u.Uid)]; !taken { // the first line wins, as in getpwuid(3)
			users[uint64(u.Uid)] = u.Name
		}
	}
	return &sampler{
		proc:     proc,
		bootTime: time.Unix(int64(stat.BootTime), 0).UTC(),
		users:    users,
		pod:      pod,
		now:      time.Now,
	}, nil
}

// sample reads all processes and skips those that exit meanwhile.
func (s *sampler) sample() (Snapshot, error) {
	now := s.now()
	found, err := podprocs.Read(s.proc, s.pod.AllocID)
	if err != nil {
		return Snapshot{}, err
	}
	var (
		processes = make([]Process, 0, len(found))
		cpu       = make(map[podprocs.Identity]float64, len(found))
	)
	for _, proc := range found {
		p := s.process(proc.Proc, proc.Stat)
		p.Task = proc.Task
		id := proc.Identity()
		p.CPUPercent = s.cpuPercent(id, p, now)
		cpu[id] = p.CPUSeconds
		processes = append(processes, p)
	}
	s.previous, s.previousAt = cpu, now
	return Snapshot{Pod: s.pod, SampledAt: now.UTC(), Processes: processes}, nil
}

// process fills in everything except the CPU percentage and the task. Unreadable
// fields other than stat stay empty.
func (s *sampler) process(proc procfs.Proc, stat procfs.ProcStat) Process {
	p := Process{
		PID:         stat.PID,
		PPID:        stat.PPID,
		State:       stat.State,
		Threads:     stat.NumThreads,
		CPUSeconds:  float64(stat.UTime+stat.STime) / podprocs.TicksPerSecond,
		MemoryBytes: uint64(max(0, stat.ResidentMemory())),
		StartedAt:   s.bootTime.Add(time.Duration(stat.Starttime) * (time.Second / podprocs.TicksPerSecond)),
		Name:        printable(stat.Comm),
	}
	args, _ := proc.CmdLine()
	p.Command = commandLine(args, stat.Comm)
	if status, err := proc.NewStatus(); err == nil {
		effective := status.UIDs[1]
		p.User = fallback(s.users[effective], strconv.FormatUint(effective, 10))
	}
	return p
}

// cpuPercent returns the CPU usage since the previous sample, or since the start of
// a process that is not in that sample, in percent of one core.
func (s *sampler) cpuPercent(id podprocs.Identity, p Process, now time.Time) float64 {
	used, elapsed := p.CPUSeconds, now.Sub(p.StartedAt)
	if before, ok := s.previous[id]; ok {
		used, elapsed = p.CPUSeconds-before, now.Sub(s.previousAt)
	} else if s.previous != nil {
		// Start times are rounded, but a new process is not older than the last sample.
		elapsed = min(elapsed, now.Sub(s.previousAt))
	}
	// Below one tick the quotient is noise.
	if elapsed < time.Second/podprocs.TicksPerSecond {
		return 0
	}
	return math.Round(max(0, used)/elapsed.Seconds()*1000) / 10
}
