package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/agent"
)

// contestant is a driver and an agent that runs it.
type contestant struct {
	name   string // as in the table
	driver string // as in a job
	config string // of a task that sleeps
	agent  *agent.Agent
	// standing returns the processes that the driver needs even when idle. They are counted like
	// processes of tasks.
	standing func() ([]int, error)
	// once is set if the driver is too slow to repeat a run; maxGroups excludes larger jobs.
	once      bool
	maxGroups int

	traced int64 // read offset in the client's log
}

// field contains all contestants and their environment.
type field struct {
	contestants []*contestant
	leftOut     []string // "who: why"
	agents      []*agent.Agent
	docker      *docker
	nomad, dir  string
}

const everything = 1 << 10

// Tasks run a program that does nothing and has few libraries.
const sleepConfig = `
        command = "/bin/sleep"
        args    = ["100000"]`

// newField starts an agent for each OCI runtime. The peers run on the first.
func newField(ctx context.Context, o options) (_ *field, err error) {
	f := &field{}
	repo, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	if f.nomad, err = agent.FindNomad(repo); err != nil {
		return nil, err
	}
	if f.dir, err = os.MkdirTemp("", "nomad-sidecar-bench-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close(context.WithoutCancel(ctx)))
		}
	}()
	if !o.trace {
		if err := f.startDocker(ctx); err != nil {
			f.leave("docker", err.Error())
		}
	}
	for _, runtime := range []string{"crun", "runc"} {
		path, err := exec.LookPath(runtime)
		if err != nil {
			f.leave("pod, "+runtime, runtime+" is not installed")
			continue
		}
		if err := f.startAgent(ctx, o, path); err != nil {
			return nil, err
		}
	}
	if len(f.agents) == 0 {
		return nil, errors.New("neither crun nor runc is installed: run make deps")
	}
	if !o.trace {
		f.addPeers()
	}
	return f, nil
}

func (f *field) startAgent(ctx context.Context, o options, runtime string) error {
	options := agent.Options{
		Dir: filepath.Join(f.dir, filepath.Base(runtime)), Nomad: f.nomad,
		Plugin: filepath.Join("bin", "nomad-driver-pod"), Runtime: runtime,
		// As on a real client, /run is not on a disk. The sandbox has its own.
		DriverRunDir: filepath.Join("/run/nomad-driver-pod", filepath.Base(runtime)),
	}
	if f.docker != nil {
		options.Docker = f.docker.address()
	}
	if o.trace {
		options.LogLevel = "TRACE"
	}
	a, err := agent.Start(ctx, options)
	if err != nil {
		return fmt.Errorf("agent for %s: %w", runtime, err)
	}
	f.agents = append(f.agents, a)
	f.contestants = append(f.contestants, &contestant{
		name: "pod, " + filepath.Base(runtime), driver: "pod", config: sleepConfig, agent: a, maxGroups: everything,
		standing: func() ([]int, error) {
			plugin, err := a.PluginPIDs()
			collector, cerr := a.CollectorPIDs()
			return append(plugin, collector...), errors.Join(err, cerr)
		},
	})
	return nil
}

// addPeers adds other drivers, and records why some are limited or missing.
func (f *field) addPeers() {
	none := func() ([]int, error) { return nil, nil }
	a := f.agents[0]
	f.contestants = append(f.contestants,
		&contestant{name: "raw_exec", driver: "raw_exec", config: sleepConfig, agent: a, standing: none, maxGroups: everything},
		&contestant{name: "exec", driver: "exec", config: sleepConfig, agent: a, standing: none, once: true, maxGroups: 1},
	)
	f.leave("exec, more than 2 tasks", "it copies programs and libraries for each task, which takes many seconds and gigabytes")
	if f.docker != nil {
		f.contestants = append(f.contestants, &contestant{
			name: "docker", driver: "docker", agent: a, standing: f.docker.processes, maxGroups: 10,
			config: fmt.Sprintf(`
        image        = %q
        network_mode = "host"%s`, dockerImage, sleepConfig),
		})
		f.leave("docker, more than 20 tasks", "it would take minutes")
	}
	f.leave("podman", "its driver is no part of Nomad, and this repository does not build it")
}

func (f *field) leave(who, why string) { f.leftOut = append(f.leftOut, who+": "+why) }

// close stops and removes everything.
func (f *field) close(ctx context.Context) error {
	var errs []error
	for _, a := range f.agents {
		errs = append(errs, a.Stop(ctx))
	}
	if f.docker != nil {
		errs = append(errs, f.docker.stop(ctx))
	}
	return errors.Join(append(errs, os.RemoveAll(f.dir))...)
}
