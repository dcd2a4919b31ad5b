package pod

import (
	"math"
	"testing"

	"github.com/shoenig/test/must"
)

// A pod has room for two volumes in addition to the shared memory of every pod, even with the
// lowest maximum that an operator can set.
func TestCheckShared_DefaultsFit(t *testing.T) {
	task := Task{Share: Share{IPC: true}, Volumes: []Volume{{Name: "a"}, {Name: "b"}}}
	for most := int64(MinSharedMemoryMax); most <= 1<<50; most += most / 3 {
		must.NoError(t, CheckShared(task, most), must.Sprint(most))
		w, err := task.sharedCapacity(most)
		must.NoError(t, err)
		must.NoError(t, w.check(most), must.Sprint(most))
		for name, values := range w.ipc {
			must.Positive(t, values[0], must.Sprint(name, most))
		}
	}
}

// A volume of another task of the pod may be smaller than the default.
func TestCheckShared_VolumeOfAnotherTask(t *testing.T) {
	task := Task{Share: Share{IPC: true}, ShmSizeBytes: 140 << 20, Volumes: []Volume{{Name: "a"}}}
	must.NoError(t, CheckShared(task, 256<<20))
	task.Volumes[0].SizeBytes = 64 << 20
	must.ErrorIs(t, CheckShared(task, 256<<20), ErrInvalid)
}

func TestCheckShared_CountsEveryPart(t *testing.T) {
	full := shared{shm: 64 << 20, volumes: map[string]int64{"a": 64 << 20, "b": 64 << 20}, ipc: defaultIPCLimits(256 << 20)}
	must.NoError(t, full.check(256<<20))
	for name, values := range full.ipc {
		for i := range values {
			if name == "kernel.sem" && i%2 == 0 {
				continue // limit per set or call
			}
			more := ipcLimits{name: append([]int64{}, values...)}
			more[name][i] *= 100
			must.ErrorIs(t, full.with(shared{ipc: more}).check(256<<20), ErrInvalid, must.Sprint(name, i))
			more[name][i] = math.MaxInt64
			must.ErrorIs(t, full.with(shared{ipc: more}).check(256<<20), ErrInvalid, must.Sprint(name, i))
		}
	}
	must.ErrorIs(t, full.with(shared{shm: 80 << 20}).check(256<<20), ErrInvalid)
	must.ErrorIs(t, full.with(shared{volumes: map[string]int64{"c": 8 << 20}}).check(256<<20), ErrInvalid)
	must.ErrorIs(t, full.with(shared{volumes: map[string]int64{"c": math.MaxInt64}}).check(256<<20), ErrInvalid)
	must.NoError(t, full.with(shared{volumes: map[string]int64{"a": 8 << 20}}).check(256<<20), must.Sprint("same volume again"))
}
