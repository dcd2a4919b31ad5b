package cluster

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"

	"github.com/hashicorp/nomad/api"
)

// maxAddressed bounds the allocations that Addresses reads.
const maxAddressed = 10

// Addresses returns a line for each port of the allocations that run version, or a later one, of
// a job: the allocation, the port's label, and its host and port. Ports of tasks' own networks are
// not included.
func (c *Cluster) Addresses(ctx context.Context, job *Job, version uint64) ([]string, error) {
	allocs, _, err := c.client.Jobs().Allocations(job.ID, false, job.query(ctx, 0))
	if err != nil {
		return nil, fmt.Errorf("list allocations: %w", err)
	}
	allocs = slices.DeleteFunc(allocs, func(a *api.AllocationListStub) bool {
		return a.JobVersion < version || a.DesiredStatus != "run" || a.ClientStatus != "running"
	})
	slices.SortFunc(allocs, func(a, b *api.AllocationListStub) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	var lines []string
	for _, a := range allocs[:min(len(allocs), maxAddressed)] {
		alloc, _, err := c.client.Allocations().Info(a.ID, job.query(ctx, 0))
		if err != nil {
			return lines, fmt.Errorf("read allocation %s: %w", Short(a.ID), err)
		}
		if alloc.AllocatedResources == nil {
			continue
		}
		for _, p := range alloc.AllocatedResources.Shared.Ports {
			lines = append(lines, fmt.Sprintf("allocation %s: port %q at %s", Short(a.ID), p.Label, net.JoinHostPort(p.HostIP, strconv.Itoa(p.Value))))
		}
	}
	if len(lines) > 0 && len(allocs) > maxAddressed {
		lines = append(lines, "ports of more allocations: see nomad alloc status")
	}
	return lines, nil
}
