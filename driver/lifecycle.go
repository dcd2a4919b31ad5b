package driver

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/nomad-sidecar/nomad-sidecar/driver/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
)

// handleVersion is the version of the task handle that Nomad stores.
const handleVersion = 1

// TraceKey is the key of a TRACE log line with the duration of each phase of a
// start: "join:1.2ms,root:800µs,…".
const TraceKey = "start_phases"

// handleState is the driver state in a task handle. Nomad does not store a handle
// again, so everything else is in the pod's own state directory.
type handleState struct {
	ContainerID string
	StartedAt   time.Time
	PullOnly    bool
}

// StartTask starts a task in the pod of its allocation. Errors that may resolve themselves are
// recoverable, see startError.
func (d *Driver) StartTask(cfg *drivers.TaskConfig) (*drivers.TaskHandle, *drivers.DriverNetwork, error) {
	handle, err := d.startTask(cfg)
	d.metrics.Start(resultOf(err))
	return handle, nil, startError(err)
}

func (d *Driver) startTask(cfg *drivers.TaskConfig) (*drivers.TaskHandle, error) {
	m, h, err := d.manager()
	if err != nil {
		return nil, err
	}
	if t, is, err := d.currentSettings().pullOnly(cfg); err != nil {
		return nil, err
	} else if is {
		return d.startPull(m, t, cfg)
	}
	t, err := d.taskOf(cfg, h)
	if err != nil {
		m.NotStarted(cfg.AllocID, cfg.Name)
		return nil, err
	}
	if servers := unreachableDNS(t.Network, cfg.DNS, hostResolvers()); servers != nil {
		d.emit(t.ID, t.AllocID, t.Name, fmt.Sprintf("The host's name servers (%s) are loopback addresses, which the group's network cannot reach; set dns in the group's network block",
			strings.Join(servers, ", ")))
	}
	c, err := m.Start(d.ctx, t)
	if err != nil {
		return nil, err
	}
	handle := drivers.NewTaskHandle(handleVersion)
	handle.Config, handle.State = cfg, drivers.TaskStateRunning
	info := c.Info()
	err = handle.SetDriverState(&handleState{ContainerID: info.ContainerID, StartedAt: info.StartedAt})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("encode handle: %w", err), c.Destroy(d.ctx, true))
	}
	return handle, nil
}

// taskOf converts a task for the pod manager. It writes files of the task only if the rest is right.
func (d *Driver) taskOf(cfg *drivers.TaskConfig, h *host) (pod.Task, error) {
	t, err := d.currentSettings().taskFrom(cfg, h.cgroups)
	if err != nil {
		return t, fmt.Errorf("%w: task %q: %w", errTaskConfig, cfg.Name, err)
	}
	if t.Userns && h.noUserns != nil {
		return t, fmt.Errorf("%w: task %q: userns = \"auto\": %w", errTaskConfig, cfg.Name, h.noUserns)
	}
	if err := h.checkRuntime(d.ctx, t); err != nil {
		return t, err
	}
	if err := hostAppArmor().apply(&t, h.profile); err != nil {
		return t, err
	}
	if err := t.Check(); err != nil {
		return t, err
	}
	d.setIndex(&t, cfg)
	return t, setMounts(&t, cfg)
}

// RecoverTask resumes management of a task that an earlier plugin process started.
// The task may be running or have ended in the meantime.
func (d *Driver) RecoverTask(handle *drivers.TaskHandle) (err error) {
	defer shorten(&err)
	if handle == nil || handle.Config == nil {
		return errors.New("recover task: the handle has no task")
	}
	if handle.Version != handleVersion {
		return fmt.Errorf("recover task %s: the handle has unsupported version %d", handle.Config.ID, handle.Version)
	}
	m, _, err := d.manager()
	if err != nil {
		return err
	}
	d.noteLinkKind(handle.Config.AllocDir)
	is, err := d.recoverPull(m, handle)
	if !is {
		_, err = m.Recover(d.ctx, handle.Config.AllocID, handle.Config.Name, handle.Config.ID)
	}
	d.metrics.Recovery(resultOf(err))
	return err
}

// WaitTask returns a channel with the task's result.
func (d *Driver) WaitTask(ctx context.Context, taskID string) (<-chan *drivers.ExitResult, error) {
	if p := d.pullTask(taskID); p != nil {
		return p.wait(ctx, d.ctx), nil
	}
	c, err := d.container(taskID)
	if err != nil {
		return nil, err
	}
	ch := make(chan *drivers.ExitResult, 1)
	go func() { // ends with the task, the caller or the driver
		defer close(ch)
		select {
		case <-c.Done():
			exit, _ := c.Exit()
			ch <- exitResult(exit)
		case <-ctx.Done():
		case <-d.ctx.Done():
		}
	}()
	return ch, nil
}

// StopTask sends a signal and kills all remaining processes after the timeout. It
// returns nil if the task has ended.
func (d *Driver) StopTask(taskID string, timeout time.Duration, signal string) (err error) {
	defer shorten(&err)
	if p := d.pullTask(taskID); p != nil {
		return p.stop(timeout)
	}
	c, err := d.container(taskID)
	if err != nil {
		return err
	}
	sig, err := pod.ParseSignal(signal)
	if err != nil {
		return err
	}
	return c.Stop(d.ctx, sig, timeout)
}

// DestroyTask removes everything that belongs to the task.
func (d *Driver) DestroyTask(taskID string, force bool) (err error) {
	defer shorten(&err)
	if p := d.pullTask(taskID); p != nil {
		return d.destroyPull(p, force)
	}
	c, err := d.container(taskID)
	if errors.Is(err, drivers.ErrTaskNotFound) {
		return nil // destroyed already
	}
	if err != nil {
		return err
	}
	if err := c.Destroy(d.ctx, force); err != nil {
		d.log.Error("task was not removed", "task_id", taskID, "error", err) // Nomad does not log it
		return err
	}
	return nil
}

// InspectTask returns the status of a task.
func (d *Driver) InspectTask(taskID string) (*drivers.TaskStatus, error) {
	if p := d.pullTask(taskID); p != nil {
		return p.inspect(), nil
	}
	c, err := d.container(taskID)
	if err != nil {
		return nil, err
	}
	info := c.Info()
	status := &drivers.TaskStatus{
		ID: info.TaskID, Name: info.Name, State: drivers.TaskStateRunning, StartedAt: info.StartedAt,
		DriverAttributes: map[string]string{"pid": strconv.Itoa(info.PID), "container_id": info.ContainerID},
	}
	if info.ImageID != "" {
		status.DriverAttributes["image_id"] = info.ImageID
		status.DriverAttributes["image_digest"] = info.ImageDigest
	}
	if exit, ended := c.Exit(); ended {
		status.State, status.CompletedAt, status.ExitResult = drivers.TaskStateExited, exit.At, exitResult(exit)
	}
	return status, nil
}

// SignalTask sends a signal to the first process of a task.
func (d *Driver) SignalTask(taskID string, signal string) (err error) {
	defer shorten(&err)
	c, err := d.container(taskID)
	if err != nil {
		return err
	}
	sig, err := pod.ParseSignal(signal)
	if err != nil {
		return err
	}
	return c.Signal(sig)
}

// TaskEvents returns the channel of task events.
func (d *Driver) TaskEvents(ctx context.Context) (<-chan *drivers.TaskEvent, error) {
	return d.events.TaskEvents(ctx)
}

// emit sends an event. All events pass through it, so that bounds.Text limits text
// from tasks, registries and runtimes.
func (d *Driver) emit(taskID, allocID, name, message string) {
	message = bounds.Text(message)
	err := d.events.EmitEvent(&drivers.TaskEvent{
		TaskID: taskID, AllocID: allocID, TaskName: name, Timestamp: time.Now(), Message: message,
	})
	if err != nil {
		d.log.Warn("event was not sent", "task_id", taskID, "message", message, "error", err)
	}
}

// trace records the phases of a start and logs them in one line. A plus marks phases that ran in
// parallel with others.
func (d *Driver) trace(taskID string, phases []pod.Phase) {
	var text []string
	for _, p := range phases {
		d.metrics.Phase(p.Name, p.Took)
		name := p.Name
		if p.Parallel {
			name = "+" + name
		}
		text = append(text, name+":"+p.Took.String())
	}
	d.log.Trace("started", "task_id", taskID, TraceKey, strings.Join(text, ","))
}

func (d *Driver) currentSettings() settings {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.settings
}

// pods returns this node's manager, or nil before the first task.
func (d *Driver) pods() *pod.Manager {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.podManager
}

// container returns a task, or the error that Nomad expects for an unknown one.
func (d *Driver) container(taskID string) (*pod.Container, error) {
	if d.pullTask(taskID) != nil {
		return nil, errNoProcess
	}
	m := d.pods()
	if m == nil {
		return nil, drivers.ErrTaskNotFound
	}
	c, err := m.Get(taskID)
	if err != nil {
		return nil, drivers.ErrTaskNotFound
	}
	return c, nil
}

// errOOMKilled has the text that Nomad's docker driver shows in the Terminated event.
var errOOMKilled = errors.New("OOM Killed")

func exitResult(e pod.Exit) *drivers.ExitResult {
	if e.OOMKilled && e.Err == nil {
		e.Err = errOOMKilled
	}
	return &drivers.ExitResult{ExitCode: e.Code, Signal: e.Signal, OOMKilled: e.OOMKilled, Err: bounds.Error(e.Err)}
}

// shorten is deferred by the task methods: Nomad turns their errors into events.
func shorten(err *error) { *err = bounds.Error(*err) }
