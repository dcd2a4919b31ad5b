package pod

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nomad-sidecar/nomad-sidecar/driver/namespace"
)

// Memory of the pod's tmpfs and IPC namespace outlives the task that wrote it and
// the cgroup that it was charged to. A task that writes, exits and restarts in a
// loop could use any amount. The limit applies to capacities: the kernel enforces
// the size of each part, and their sum is at most Config.SharedMemoryMax.

// DefaultSharedMemoryMax fits /dev/shm, System V shared memory and two volumes of
// the default sizes.
const DefaultSharedMemoryMax = 256 << 20

// MinSharedMemoryMax fits the parts that every pod has.
const MinSharedMemoryMax = 32 << 20

// Kernel memory per object, rounded up. It counts towards the limit, since there
// can be very many objects without data.
const (
	inodeBytes     = 1 << 10 // tmpfs; the kernel uses the same size
	segmentBytes   = 2 << 10 // System V shared memory, without its pages
	messageBytes   = 64      // minimum per message
	semaphoreBytes = 64
	setBytes       = 512 // of semaphores
	queueBytes     = 2 << 10
)

// bytesPerInode limits the files of a tmpfs: one inode per that many bytes.
const bytesPerInode, minInodes = 16 << 10, 64

func inodes(size int64) int64 { return max(size/bytesPerInode, minInodes) }

func tmpfsCost(size int64) int64 { return add(size, inodes(size)*inodeBytes) }

// defaultTmpfsBytes is the default size of /dev/shm and of a volume: docker's default
// for /dev/shm, or a quarter of the maximum.
func defaultTmpfsBytes(most int64) int64 { return min(64<<20, most/4) }

// shared is the capacity of a pod's memory that outlives its tasks.
type shared struct {
	shm     int64            // size of /dev/shm; 0: none
	volumes map[string]int64 // sizes by name
	ipc     ipcLimits        // nil: no IPC namespace
}

// sharedCapacity returns the capacity that a task adds to an empty pod.
func (t Task) sharedCapacity(most int64) (shared, error) {
	w := shared{volumes: map[string]int64{}}
	for _, v := range t.Volumes {
		w.volumes[v.Name] = v.SizeBytes
		if v.SizeBytes == 0 {
			w.volumes[v.Name] = defaultTmpfsBytes(most)
		}
	}
	if !t.Share.IPC {
		return w, nil
	}
	w.shm = t.ShmSizeBytes
	if w.shm == 0 {
		w.shm = defaultTmpfsBytes(most)
	}
	w.ipc = defaultIPCLimits(most)
	for name, text := range t.Sysctl {
		have, ok := w.ipc[name]
		if !ok {
			continue
		}
		values, err := numbers(text)
		if err != nil || len(values) == 0 || len(values) > len(have) {
			return w, fmt.Errorf("%w: sysctl: %s = %q: want %d number(s) from 0 on", ErrInvalid, name, text, len(have))
		}
		w.ipc = w.ipc.raised(ipcLimits{name: values})
	}
	return w, nil
}

// with returns the capacity after a task that wants w has joined.
func (s shared) with(w shared) shared {
	out := shared{shm: max(s.shm, w.shm), volumes: map[string]int64{}, ipc: s.ipc.raised(w.ipc)}
	maps.Copy(out.volumes, w.volumes)
	maps.Copy(out.volumes, s.volumes) // sizes do not change
	return out
}

func (s shared) equal(other shared) bool {
	return s.shm == other.shm && maps.Equal(s.volumes, other.volumes) && s.ipc.equal(other.ipc)
}

// check compares the sum with the operator's maximum. Its error names every part.
func (s shared) check(most int64) error {
	var parts []string
	var sum int64
	part := func(bytes int64, format string, args ...any) {
		sum = add(sum, bytes)
		parts = append(parts, fmt.Sprintf(format, args...))
	}
	if s.shm > 0 {
		part(tmpfsCost(s.shm), "shm_size = %d", s.shm)
	}
	for _, name := range slices.Sorted(maps.Keys(s.volumes)) {
		part(tmpfsCost(s.volumes[name]), "pod_volume %q size = %d", name, s.volumes[name])
	}
	if s.ipc != nil {
		part(s.ipc.cost(), "%d for System V IPC and message queues (sysctl: kernel.shmall = %d pages, kernel.msgmni = %d, fs.mqueue.queues_max = %d)",
			s.ipc.cost(), s.ipc["kernel.shmall"][0], s.ipc["kernel.msgmni"][0], s.ipc["fs.mqueue.queues_max"][0])
	}
	if sum <= most {
		return nil
	}
	return fmt.Errorf("%w: shared memory of the pod: %s; with %d bytes per tmpfs inode the total is %d bytes, above the operator's shared_memory_max = %d; request less, or raise shared_memory_max in the plugin's config",
		ErrInvalid, strings.Join(parts, " + "), inodeBytes, sum, most)
}

// CheckShared returns an error if the task alone exceeds the maximum. A volume without a
// size is not counted: another task may set it. checkShared counts it when the task joins the pod.
func CheckShared(t Task, most int64) error {
	w, err := t.sharedCapacity(most)
	if err != nil {
		return err
	}
	for _, v := range t.Volumes {
		if v.SizeBytes == 0 {
			delete(w.volumes, v.Name)
		}
	}
	return w.check(most)
}

// checkShared returns the pod's capacity before and after the task joins. A task
// that adds nothing may join even if the operator has lowered the maximum since.
// The caller must hold p.mu.
func (p *pod) checkShared(t Task) (current, next shared, err error) {
	if !t.Share.IPC && len(t.Volumes) == 0 {
		return current, next, nil
	}
	w, err := t.sharedCapacity(p.m.cfg.SharedMemoryMax)
	if err != nil {
		return current, next, err
	}
	if current, err = p.shared(); err != nil {
		return current, next, fmt.Errorf("pod %s: %w", p.allocID, err)
	}
	next = current.with(w)
	if next.equal(current) {
		return current, next, nil
	}
	return current, next, next.check(p.m.cfg.SharedMemoryMax)
}

// shared reads the pod's current capacity from the kernel.
func (p *pod) shared() (s shared, err error) {
	s.volumes = map[string]int64{}
	if namespace.Pinned(p.namespaceDir(), namespace.IPC) {
		if s.shm, _, err = tmpfsSize(p.shmDir()); err != nil {
			return s, err
		}
		err = namespace.InIPC(p.ipcFile(), func() (err error) {
			s.ipc, err = readIPCLimits()
			return err
		})
		if err != nil {
			return s, err
		}
	}
	entries, err := os.ReadDir(p.volumesDir())
	if err != nil && !os.IsNotExist(err) {
		return s, err
	}
	for _, e := range entries {
		size, mounted, err := tmpfsSize(filepath.Join(p.volumesDir(), e.Name()))
		if err != nil {
			return s, err
		}
		if mounted {
			s.volumes[e.Name()] = size
		}
	}
	return s, nil
}
