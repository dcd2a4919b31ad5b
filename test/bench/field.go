package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/nomad-sidecar/nomad-sidecar/test/agent"
)

// contestant is a driver on an agent that runs it.
type contestant struct {
	name   string // as in the table
	driver string // as in a job
	config string // of a task that sleeps
	agent  *agent.Agent
	// standing are the processes that the driver needs even when it has
	// nothing to do. They count like those that come with tasks.
	standing func() ([]int, error)
	// once says that it takes too long to do anything twice, and mostGroups
	// what takes it too long altogether.
	once       bool
	mostGroups int

	traced int64 // so much of the client's log was read already
}

// field is all that takes part, and what it runs on.
type field struct {
	contestants []*contestant
	leftOut     []string // "who: why"
	agents      []*agent.Agent
	docker      *docker
	nomad, dir  string
}

const everything = 1 << 10

// The program that tasks run does nothing, and has no libraries of note.
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
		// As on a real client: what is in /run is not on a disk. The sandbox
		// has one of its own.
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
		name: "pod, " + filepath.Base(runtime), driver: "pod", config: sleepConfig, agent: a, mostGroups: everything,
		standing: func() ([]int, error) {
			plugin, err := a.PluginPIDs()
			collector, cerr := a.CollectorPIDs()
			return append(plugin, collector...), errors.Join(err, cerr)
		},
	})
	return nil
}

// addPeers adds the drivers of others, and says why some do less or nothing.
func (f *field) addPeers() {
	none := func() ([]int, error) { return nil, nil }
	a := f.agents[0]
	f.contestants = append(f.contestants,
		&contestant{name: "raw_exec", driver: "raw_exec", config: sleepConfig, agent: a, standing: none, mostGroups: everything},
		&contestant{name: "exec", driver: "exec", config: sleepConfig, agent: a, standing: none, once: true, mostGroups: 1},
	)
	f.leave("exec, more than 2 tasks", "it copies programs and libraries for each task, which takes many seconds and gigabytes")
	if f.docker != nil {
		f.contestants = append(f.contestants, &contestant{
			name: "docker", driver: "docker", agent: a, standing: f.docker.processes, mostGroups: 10,
			config: fmt.Sprintf(`
        image        = %q
        network_mode = "host"%s`, dockerImage, sleepConfig),
		})
		f.leave("docker, more than 20 tasks", "it would take minutes")
	}
	f.leave("podman", "its driver is no part of Nomad, and this repository does not build it")
}

func (f *field) leave(who, why string) { f.leftOut = append(f.leftOut, who+": "+why) }

// close ends and removes all.
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
