// Package agent runs a real Nomad from its own directory and on loopback only: a server, and
// a client with the pod driver as an external plugin. Tests and the demo use it.
//
// Server and client are two processes. A client that starts together with its only server
// tries to register before there is a leader, and retries only after up to 30 seconds
// (registerRetryIntv in Nomad's client/client.go). It also lets a test kill the client while
// the server still answers.
//
// It installs and builds nothing, and is not a model for a production setup. Stop removes
// everything that the agents created on the machine, and nothing else.
package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/sandbox"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testtimeout"
)

const (
	driverPlugin = "nomad-driver-pod"
	driverName   = "pod"

	// markEnv marks the processes of an agent: Nomad passes its environment on to plugins, log
	// collectors and executors.
	markEnv = "POD_TEST_AGENT"
)

// Agent is a started Nomad. Methods that start, kill or stop something must be called from one
// goroutine; the others are safe for concurrent use.
type Agent struct {
	config  configuration
	api     *api.Client
	machine machine

	server, client *process

	token     string // "" without ACLs
	namespace string
}

// Start starts an agent and waits until its node is ready and, with a plugin, the driver is
// healthy. On error it leaves nothing behind.
func Start(ctx context.Context, options Options) (*Agent, error) {
	a := &Agent{config: configuration{Options: options}, namespace: api.DefaultNamespace}
	var err error
	if a.machine, err = inspect(); err != nil {
		return nil, err
	}
	if a.config.Network, err = reserveNetwork(); err != nil {
		return nil, err
	}
	a.machine.bridge, a.machine.nomad = a.config.Network.Bridge, filepath.Base(options.Nomad)
	if a.api, err = api.NewClient(&api.Config{Address: a.Address()}); err == nil {
		err = a.config.write()
	}
	if err == nil {
		err = a.startServer(ctx)
	}
	if err == nil {
		err = a.Launch(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, a.Stop(context.WithoutCancel(ctx)))
	}
	return a, nil
}

// Address returns the URL of the server's API, for NOMAD_ADDR.
func (a *Agent) Address() string { return a.url(a.config.Network.Ports.HTTP) }

// Token returns a management token, for NOMAD_TOKEN, or "" without ACLs.
func (a *Agent) Token() string { return a.token }

// Client returns a client of the server's API.
func (a *Agent) Client() *api.Client { return a.api }

// Dir returns the directory with all files of the agent.
func (a *Agent) Dir() string { return a.config.Dir }

// Nomad returns the path of the nomad binary.
func (a *Agent) Nomad() string { return a.config.Nomad }

// SharedDir returns an allocation's directory that its tasks have at /alloc.
func (a *Agent) SharedDir(allocID string) string {
	return filepath.Join(a.config.AllocDir(), allocID, "alloc")
}

// ClientLog returns the path of the client's log.
func (a *Agent) ClientLog() string { return a.config.logFile(client) }

// DriverDirs returns the driver's data and run directories.
func (a *Agent) DriverDirs() []string {
	return []string{a.config.DriverDataDir(), a.config.RunDir()}
}

func (a *Agent) startServer(ctx context.Context) (err error) {
	if a.server, err = a.start(server); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, testtimeout.Scale(time.Minute))
	defer cancel()
	err = a.until(ctx, "the server leads", func() error {
		leader, err := a.api.Status().Leader()
		if err == nil && leader == "" {
			err = errors.New("no leader yet")
		}
		return err
	})
	if err != nil || !a.config.ACL {
		return err
	}
	return a.until(ctx, "the server makes the first token", func() error {
		made, _, err := a.api.ACLTokens().Bootstrap(nil)
		if err == nil {
			a.token = made.SecretID
			a.api.SetSecretID(a.token)
		}
		return err
	})
}

// Launch starts the client, as Start does, for example after it was killed.
func (a *Agent) Launch(ctx context.Context) (err error) {
	if a.client, err = a.start(client); err != nil {
		return err
	}
	return a.waitReady(ctx)
}

// start starts the process of a role.
func (a *Agent) start(role string) (*process, error) {
	argv := []string{a.config.Nomad, "agent", "-config", a.config.configFile(role)}
	if role == client {
		argv = append(a.wrapper(), append(argv, "-config", a.config.addedConfigFile())...)
	}
	// A killed plugin leaves its socket behind.
	env := append(os.Environ(), markEnv+"="+a.config.Dir, "TMPDIR="+a.config.TempDir())
	return startProcess(argv, env, a.config.logFile(role))
}

// wrapper returns a command prefix for the client. crun refuses a machine with both versions of
// cgroups mounted; there the client runs in a mount namespace without version 2. All other
// mounts stay shared with our namespace.
func (a *Agent) wrapper() []string {
	if filepath.Base(a.config.Runtime) != "crun" {
		return nil
	}
	return sandbox.WithoutCgroup2()
}

func (a *Agent) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, testtimeout.Scale(time.Minute))
	defer cancel()
	return a.until(ctx, "the node is ready and the driver healthy", func() error {
		nodes, _, err := a.api.Nodes().List(nil)
		if err != nil {
			return err
		}
		if len(nodes) == 0 {
			return errors.New("no node yet")
		}
		// The server still reports a killed client as ready for a while.
		if err := a.clientAnswers(ctx); err != nil {
			return err
		}
		node, _, err := a.api.Nodes().Info(nodes[0].ID, nil)
		if err != nil {
			return err
		}
		if node.Status != api.NodeStatusReady {
			return fmt.Errorf("node is %s", node.Status)
		}
		return a.driverHealth(node)
	})
}

func (a *Agent) driverHealth(node *api.Node) error {
	if a.config.Plugin == "" {
		return nil
	}
	driver := node.Drivers[driverName]
	if driver == nil || !driver.Detected {
		return fmt.Errorf("driver %s is not detected", driverName)
	}
	if !driver.Healthy {
		return fmt.Errorf("driver %s is unhealthy: %s", driverName, driver.HealthDescription)
	}
	return nil
}

// clientAnswers sends a request to the client, and checks that the client is connected to a server.
func (a *Agent) clientAnswers(ctx context.Context) error {
	direct, err := api.NewClient(&api.Config{Address: a.url(a.config.Network.Ports.ClientHTTP), SecretID: a.token})
	if err != nil {
		return err
	}
	defer direct.Close()
	_, _, err = direct.Nodes().List((&api.QueryOptions{}).WithContext(ctx))
	return err
}

// Kill kills the client as a crash would. Its plugins and tasks and the server keep running.
func (a *Agent) Kill(ctx context.Context) error { return a.client.end(ctx, syscall.SIGKILL) }

// Shutdown asks the client to exit. Its plugins exit too, its tasks do not.
func (a *Agent) Shutdown(ctx context.Context) error { return a.client.end(ctx, syscall.SIGINT) }

// Stop stops all jobs, ends the agents, and removes everything that they created. Errors name the
// things that could not be removed and are left in place.
func (a *Agent) Stop(ctx context.Context) error {
	var errs []error
	if a.client.running() && a.server.running() {
		errs = append(errs, a.stopJobs(ctx))
	}
	for _, p := range []*process{a.client, a.server} {
		errs = append(errs, p.stop(ctx))
	}
	a.api.Close()
	errs = append(errs, endMarked(a.config.Dir), a.machine.restore(), a.removeDir())
	return errors.Join(errs...)
}

func (a *Agent) url(port int) string { return fmt.Sprintf("http://127.0.0.1:%d", port) }
