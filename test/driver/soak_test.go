package driver_test

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"github.com/shoenig/test/must"
)

// soakTasks returns the number of tasks that a round starts and stops: a few by default, or
// POD_TEST_SOAK (make soak).
func soakTasks(t *testing.T) int {
	t.Helper()
	text := os.Getenv("POD_TEST_SOAK")
	if text == "" {
		return 10
	}
	n, err := strconv.Atoi(text)
	must.NoError(t, err)
	return n
}

// Traps D8 and D17: many starts and stops leak nothing in the plugin. The leak check at the end
// covers the machine.
func TestStartStop_NothingGrows(t *testing.T) {
	const rounds, atOnce = 10, 10
	tasks := soakTasks(t)
	withRuntimes(t, func(t *testing.T, command string) {
		n := collecting(t, command)
		var goroutines, descriptors, collector []int
		for round := range rounds {
			slots := make(chan struct{}, atOnce)
			var wg sync.WaitGroup
			for i := range tasks {
				tk := n.newTask("", fmt.Sprintf("t%d-%d", round, i), sh("echo up; exec sleep 600"), withoutCollector)
				slots <- struct{}{}
				wg.Go(func() {
					defer func() { <-slots }()
					if _, _, err := n.StartTask(tk.TaskConfig); err != nil {
						t.Errorf("start: %v", err)
						return
					}
					if err := n.StopTask(tk.ID, 0, "SIGKILL"); err != nil {
						t.Errorf("stop: %v", err)
					}
					if err := n.DestroyTask(tk.ID, false); err != nil {
						t.Errorf("destroy: %v", err)
					}
				})
			}
			wg.Wait()
			open, err := os.ReadDir("/proc/self/fd")
			must.NoError(t, err)
			goroutines, descriptors = append(goroutines, runtime.NumGoroutine()), append(descriptors, len(open))
			collector = append(collector, n.collectorDescriptors())
		}
		t.Logf("%d × %d tasks: goroutines %v, descriptors %v, those of the log collector %v",
			rounds, tasks, goroutines, descriptors, collector)
		// gRPC calls add and remove a few. A leak grows with the number of tasks.
		const slack = 10
		must.Less(t, goroutines[0]+slack, goroutines[rounds-1])
		must.Less(t, descriptors[0]+slack, descriptors[rounds-1])
		must.Less(t, collector[0]+slack, collector[rounds-1])
	})
}
