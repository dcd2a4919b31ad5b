package driver

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	cstructs "github.com/hashicorp/nomad/client/structs"
	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/nomad-sidecar/nomad-sidecar/driver/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/driver/metrics"
	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
)

// pullTask is a task with pull_only. It has no container; it runs until its images are stored.
type pullTask struct {
	pod.Task
	startedAt time.Time
	cancel    context.CancelFunc
	done      chan struct{} // closed when exit is set
	exit      pod.Exit
}

// errNoProcess is the answer to everything that needs a process.
var errNoProcess = errors.New("the task has pull_only = true and so no process")

// pullOnlyKeys are the keys that a task with pull_only may have.
func pullOnlyKeys() []string {
	return []string{"pull_only", "image", "image_pull_policy", "force_pull", "image_pull_timeout", "auth", "platform", "mount", "mounts"}
}

// pullOnly returns the images of a task with pull_only, and false for other tasks.
func (s settings) pullOnly(cfg *drivers.TaskConfig) (t pod.Task, is bool, err error) {
	var c TaskConfig
	if err := cfg.DecodeDriverConfig(&c); err != nil || !c.PullOnly {
		return t, false, nil //nolint:nilerr // taskFrom reports it
	}
	t = pod.Task{ID: cfg.ID, AllocID: cfg.AllocID, Name: cfg.Name}
	if s.LogCollector == collectorNomad {
		t.StdoutHostPath, t.StderrHostPath, t.AllocDirHostPath = cfg.StdoutPath, cfg.StderrPath, cfg.AllocDir
	}
	errs := []error{checkSizes(c, cfg), c.checkPullOnly()}
	if c.Image != "" {
		errs = append(errs, checkTask(c))
	}
	errs = append(errs, s.setImage(&t, c, cfg))
	for i, m := range slices.Concat(c.Mounts, c.MountsAlias) {
		if m.Type != mountImage {
			errs = append(errs, fmt.Errorf("mount %d: type = %q makes no sense with pull_only = true: want \"image\"", i+1, m.Type))
		} else if err := s.addImageMount(&t, c, cfg, m); err != nil {
			errs = append(errs, fmt.Errorf("mount %d: %w", i+1, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return t, true, fmt.Errorf("%w: task %q: %w", errTaskConfig, cfg.Name, err)
	}
	return t, true, nil
}

// checkPullOnly returns an error for each key that makes no sense with pull_only.
func (c TaskConfig) checkPullOnly() error {
	var errs []error
	v := reflect.ValueOf(c)
	for i := range v.NumField() {
		key := v.Type().Field(i).Tag.Get("codec")
		if isSet(v.Field(i)) && !slices.Contains(pullOnlyKeys(), key) {
			errs = append(errs, fmt.Errorf("%s makes no sense with pull_only = true, which starts no container: leave one of them out", key))
		}
	}
	if c.Image == "" && len(c.Mounts)+len(c.MountsAlias) == 0 {
		errs = append(errs, errors.New("pull_only = true needs an image: set image, or mount { type = \"image\" }"))
	}
	return errors.Join(errs...)
}

// isSet reports whether a job sets a key. Nomad passes empty lists and maps for missing blocks.
func isSet(v reflect.Value) bool {
	if v.Kind() == reflect.Slice || v.Kind() == reflect.Map {
		return v.Len() > 0
	}
	return !v.IsZero()
}

// pull begins to pull the images of a task with pull_only.
func (d *Driver) pull(m *pod.Manager, t pod.Task) (*pullTask, error) {
	ctx, cancel := context.WithCancel(d.ctx)
	p := &pullTask{Task: t, startedAt: time.Now(), cancel: cancel, done: make(chan struct{})}
	d.beginning.Lock()
	defer d.beginning.Unlock()
	if err := d.ctx.Err(); err != nil {
		cancel()
		return nil, err
	}
	d.mu.Lock()
	d.pulls[t.ID] = p
	d.mu.Unlock()
	d.background.Go(func() { // ends with ctx
		defer cancel()
		err := m.Pull(ctx, t)
		if err != nil && d.ctx.Err() != nil {
			return // the next process pulls them
		}
		p.exit = pod.Exit{At: time.Now(), Err: err}
		kind := metrics.ExitDone
		if err != nil {
			p.exit.Code, kind = 1, metrics.ExitFailed
		}
		d.metrics.Exit(kind)
		close(p.done)
	})
	return p, nil
}

// pullTask returns a task with pull_only, nil if there is none with this id.
func (d *Driver) pullTask(taskID string) *pullTask {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.pulls[taskID]
}

// startPull starts a task with pull_only.
func (d *Driver) startPull(m *pod.Manager, t pod.Task, cfg *drivers.TaskConfig) (*drivers.TaskHandle, error) {
	p, err := d.pull(m, t)
	if err != nil {
		return nil, err
	}
	handle := drivers.NewTaskHandle(handleVersion)
	handle.Config, handle.State = cfg, drivers.TaskStateRunning
	return handle, handle.SetDriverState(&handleState{StartedAt: p.startedAt, PullOnly: true})
}

// recoverPull pulls the images of a task of an earlier driver process again; stored images cost
// nothing.
func (d *Driver) recoverPull(m *pod.Manager, handle *drivers.TaskHandle) (is bool, err error) {
	var state handleState
	if err := handle.GetDriverState(&state); err != nil || !state.PullOnly {
		return false, nil //nolint:nilerr // such a handle is not of pull_only
	}
	if d.pullTask(handle.Config.ID) != nil {
		return true, nil
	}
	t, _, err := d.currentSettings().pullOnly(handle.Config)
	if err == nil {
		_, err = d.pull(m, t)
	}
	return true, err
}

// wait returns a channel with the task's result.
func (p *pullTask) wait(ctx, driver context.Context) <-chan *drivers.ExitResult {
	ch := make(chan *drivers.ExitResult, 1)
	go func() { // ends with the task, the caller or the driver
		defer close(ch)
		select {
		case <-p.done:
			ch <- exitResult(p.exit)
		case <-ctx.Done():
		case <-driver.Done():
		}
	}()
	return ch
}

// stats returns a channel without values that is closed when the task ends.
func (p *pullTask) stats(ctx, driver context.Context) <-chan *cstructs.TaskResourceUsage {
	ch := make(chan *cstructs.TaskResourceUsage)
	go func() { // ends with the task, the caller or the driver
		defer close(ch)
		select {
		case <-p.done:
		case <-ctx.Done():
		case <-driver.Done():
		}
	}()
	return ch
}

// stop cancels the pulls.
func (p *pullTask) stop(timeout time.Duration) error {
	p.cancel()
	end := time.NewTimer(timeout + time.Second)
	defer end.Stop()
	select {
	case <-p.done:
		return nil
	case <-end.C:
		return errors.New("the pull has not ended yet")
	}
}

// destroyPull forgets a task with pull_only.
func (d *Driver) destroyPull(p *pullTask, force bool) error {
	select {
	case <-p.done:
	default:
		if !force {
			return fmt.Errorf("task %s: %w", p.ID, pod.ErrRunning)
		}
		p.cancel()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.pulls, p.ID)
	return nil
}

func (p *pullTask) inspect() *drivers.TaskStatus {
	status := &drivers.TaskStatus{ID: p.ID, Name: p.Name, State: drivers.TaskStateRunning, StartedAt: p.startedAt}
	select {
	case <-p.done:
		status.State, status.CompletedAt, status.ExitResult = drivers.TaskStateExited, p.exit.At, exitResult(p.exit)
	default:
	}
	var images []string
	for _, m := range p.ImageMounts {
		images = append(images, m.Reference.String())
	}
	if p.Image != nil {
		images = append(images, p.Image.Reference.String())
	}
	status.DriverAttributes = map[string]string{"images": bounds.Text(strings.Join(images, ","))}
	return status
}
