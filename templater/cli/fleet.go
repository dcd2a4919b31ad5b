package cli

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/nomad-sidecar/nomad-sidecar/templater/cluster"
	"github.com/nomad-sidecar/nomad-sidecar/templater/fleet"
)

const fleetNomadHelp = `
  NOMAD_ADDR, NOMAD_TOKEN, NOMAD_REGION, NOMAD_CACERT and similar variables select the
  Nomad, as for the nomad command; NOMAD_NAMESPACE is not used.`

// fleetOptions are the flags of a command for many jobs.
type fleetOptions struct {
	catalogs, policies, sidecars, states texts
	namespace                            string
	outdated, missing, json              bool
	parallel                             int
	rest                                 []string
}

// declare adds the flags of every command for many jobs to a flag set, and resets them.
func (o *fleetOptions) declare(fs *flag.FlagSet, jsonUsage string) *flag.FlagSet {
	*o = fleetOptions{}
	fs.Var(&o.catalogs, "catalog", catalogUsage)
	fs.Var(&o.policies, "policy", policyUsage)
	fs.Var(&o.sidecars, "sidecar", "`NAME` Only this sidecar; may be repeated.")
	fs.Var(&o.states, "is", "`STATE` Only sidecars in this state; may be repeated: "+strings.Join(fleet.States(), ", ")+".")
	fs.StringVar(&o.namespace, "namespace", "*", "`NS` Only this namespace. Default is *, all that the token may see.")
	fs.BoolVar(&o.outdated, "outdated", false, "As -is outdated -is changed.")
	fs.BoolVar(&o.missing, "missing", false, "As -is missing.")
	fs.BoolVar(&o.json, "json", false, jsonUsage)
	fs.IntVar(&o.parallel, "parallel", 8, "`N` Number of concurrent reads of jobs. Default is 8.")
	return fs
}

func (o *fleetOptions) parse(fs *flag.FlagSet, args []string) (err error) {
	if o.rest, err = parse(fs, args); err != nil {
		return err
	}
	for _, s := range o.states {
		if !slices.Contains(fleet.States(), s) {
			return fmt.Errorf("-is must be one of %s, not %q", strings.Join(fleet.States(), ", "), s)
		}
	}
	if o.outdated {
		o.states = append(o.states, fleet.StateOutdated, fleet.StateChanged)
	}
	if o.missing {
		o.states = append(o.states, fleet.StateMissing)
	}
	if o.parallel < 1 || o.parallel > 64 {
		return fmt.Errorf("-parallel must be a number from 1 to 64, not %d", o.parallel)
	}
	return nil
}

// fleetRules reads catalog and policy.
func (p *Program) fleetRules(o *fleetOptions, r *reporter) (*fleet.Rules, hcl.Diagnostics) {
	catalog, diags := p.loadCatalog(o.catalogs, r)
	if diags.HasErrors() {
		return nil, diags
	}
	rules := &fleet.Rules{Catalog: catalog}
	if len(o.policies) > 0 {
		policy, more := loadPolicy(o.policies, catalog, r)
		diags = append(diags, more...)
		rules.Policy = policy
	}
	return rules, diags
}

// fleetScan prepares a scan of the cluster that the environment names.
func (p *Program) fleetScan(o *fleetOptions, rules *fleet.Rules) (*fleet.Scan, error) {
	nomad, err := cluster.Open()
	if err != nil {
		return nil, err
	}
	return &fleet.Scan{
		Nomad: &fleetNomad{Cluster: nomad}, Rules: rules, Ask: fleet.Ask{Namespace: o.namespace},
		Filter: fleet.Filter{Sidecars: o.sidecars, States: o.states}, Parallel: o.parallel,
	}, nil
}

// scan runs the scan, and shows its progress on a terminal.
func (p *Program) scan(ctx context.Context, s *fleet.Scan) ([]*fleet.Job, error) {
	if p.screen == nil {
		return s.Run(ctx)
	}
	s.Progress = func(jobs int) { fmt.Fprintf(p.screen, "\r%d jobs read", jobs) }
	defer fmt.Fprint(p.screen, "\r\x1b[K")
	return s.Run(ctx)
}
