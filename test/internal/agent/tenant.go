package agent

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/hashicorp/nomad/api"
)

// In creates a Nomad namespace and returns the agent with a client of that namespace, which
// overrides the namespace of a job. Tests that share an agent use one each, so that they can
// run jobs of the same name. The returned agent must not be stopped or killed.
func (a *Agent) In(namespace string) (*Agent, error) {
	if _, err := a.api.Namespaces().Register(&api.Namespace{Name: namespace}, nil); err != nil {
		return nil, fmt.Errorf("make namespace %s: %w", namespace, err)
	}
	client, err := api.NewClient(&api.Config{Address: a.Address(), SecretID: a.token, Namespace: namespace})
	if err != nil {
		return nil, fmt.Errorf("client of namespace %s: %w", namespace, err)
	}
	tenant := *a
	tenant.api, tenant.namespace = client, namespace
	return &tenant, nil
}

// Namespace returns the namespace that jobs are registered in.
func (a *Agent) Namespace() string { return a.namespace }

// Leave stops the jobs of the agent's namespace, waits until their allocations
// are removed from the client, and returns the IDs of the allocations.
func (a *Agent) Leave(ctx context.Context) (allocs []string, err error) {
	defer a.api.Close()
	jobs, _, err := a.api.Jobs().List(nil)
	if err != nil {
		return nil, fmt.Errorf("list jobs: %w", err)
	}
	for _, job := range jobs {
		// Nomad does not list the allocations of a purged job.
		if _, _, err := a.api.Jobs().Deregister(job.ID, false, nil); err != nil {
			return nil, fmt.Errorf("stop job %s: %w", job.ID, err)
		}
	}
	stubs, _, err := a.api.Allocations().List(nil)
	if err != nil {
		return nil, fmt.Errorf("list allocations: %w", err)
	}
	for _, stub := range stubs {
		allocs = append(allocs, stub.ID)
		err = errors.Join(err, a.remove(ctx, stub.ID))
	}
	return allocs, err
}

// remove waits until an allocation has ended, and makes the client remove it.
func (a *Agent) remove(ctx context.Context, id string) error {
	return a.until(ctx, fmt.Sprintf("allocation %.8s is removed", id), func() error {
		alloc, err := a.Alloc(id)
		if err != nil {
			return err
		}
		if !ended(alloc.ClientStatus) {
			return fmt.Errorf("status is %s", alloc.ClientStatus)
		}
		left, err := a.remains(id)
		if err != nil || len(left) == 0 {
			return err
		}
		_ = a.api.Allocations().GC(alloc, nil) // refused until its tasks are destroyed
		return fmt.Errorf("there are %v", left)
	})
}

// remains lists the directories of an allocation.
func (a *Agent) remains(id string) ([]string, error) {
	var all []string
	for _, dir := range []string{a.config.AllocDir(), filepath.Join(a.config.RunDir(), "pods")} {
		found, err := filepath.Glob(filepath.Join(dir, id))
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}
