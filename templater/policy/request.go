package policy

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/ryanuber/go-glob"
	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
)

// requestRoot is the reference to who registers a job. Only validations may use it: one job is
// registered by different users, by nomad-sidecar upgrade and by Nomad's own page, and what a rule
// injects would come and go with them.
const requestRoot = "request"

const onlyValidations = "Only rules without inject blocks, default blocks and connect may depend on who registers a job: others register it again later, and its sidecars and defaults would come and go."

// requestFields returns the fields of request, which are also the attributes of match { request { } }.
func requestFields() []string { return []string{"accessor", "policies", "roles", "client"} }

// requestMatch is a request block in a match block: all its attributes must match.
type requestMatch map[string][]string

func decodeRequestMatch(b *hcl.Block) (requestMatch, hcl.Diagnostics) {
	content, diags := b.Body.Content(&hcl.BodySchema{Attributes: attributes(requestFields()...)})
	m := requestMatch{}
	for name, a := range content.Attributes {
		var patterns []string
		more := gohcl.DecodeExpression(a.Expr, nil, &patterns)
		if len(patterns) == 0 && !more.HasErrors() {
			more = append(more, diagnostic.Error(a.Expr.Range(), "Empty match", fmt.Sprintf("An empty list matches nothing. Give patterns, or leave %s out to match all.", name)))
		}
		for _, p := range patterns {
			if name == "client" && !isNetwork(p) {
				more = append(more, diagnostic.Error(a.Expr.Range(), "Invalid address", fmt.Sprintf("%q is neither an IP address nor a network such as \"10.0.0.0/8\".", p)))
			}
		}
		diags, m[name] = append(diags, more...), patterns
	}
	return m, diags
}

func isNetwork(text string) bool {
	_, err := netip.ParseAddr(text)
	if err != nil {
		_, err = netip.ParsePrefix(text)
	}
	return err == nil
}

// matches compares who registers the job, which must be known.
func (m requestMatch) matches(who *job.Requester) bool {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		patterns := m[name]
		var is []string
		switch name {
		case "accessor":
			is = []string{who.Accessor}
		case "policies":
			is = who.Policies
		case "roles":
			is = who.Roles
		case "client":
			is = []string{who.Client}
		}
		if !slices.ContainsFunc(patterns, func(p string) bool {
			return slices.ContainsFunc(is, func(v string) bool { return matchesRequest(name, p, v) })
		}) {
			return false
		}
	}
	return true
}

func matchesRequest(name, pattern, value string) bool {
	if name != "client" {
		return glob.Glob(pattern, value)
	}
	addr, err := netip.ParseAddr(value)
	if err != nil {
		return false
	}
	addr = addr.Unmap().WithZone("")
	if network, err := netip.ParsePrefix(pattern); err == nil {
		return network.Contains(addr)
	}
	want, err := netip.ParseAddr(pattern)
	return err == nil && want.Unmap() == addr
}

// AsksWho reports whether a rule depends on who registers a job.
func (p *Policy) AsksWho() bool {
	return slices.ContainsFunc(p.Rules, (*Rule).asksWho)
}

func (r *Rule) asksWho() bool {
	return r.request != nil || slices.ContainsFunc(r.validations, (*validation).asksWho)
}

func (v *validation) asksWho() bool {
	for _, expr := range []hcl.Expression{v.condition, v.message} {
		if expr != nil && slices.ContainsFunc(expr.Variables(), func(t hcl.Traversal) bool { return t.RootName() == requestRoot }) {
			return true
		}
	}
	return false
}

// concerns reports whether a rule's validations apply to a job of this requester. Otherwise the
// diagnostic says why that is not known, or is nil.
func (r *Rule) concerns(j *job.Job) (bool, *hcl.Diagnostic) {
	switch {
	case !r.asksWho():
		return true, nil
	case j.Requester == nil:
		d := diagnostic.Warning(r.Range, "Rule not checked", fmt.Sprintf("Rule %q of the policy depends on who registers the job, which only nomad-sidecar serve knows.", r.Name))
		d.Extra = templater.ByRule(r.Name)
		return false, d
	case j.Requester.Unknown != nil:
		d := j.Requester.Unknown.Error(fmt.Sprintf("Rule %q of the policy", r.Name))
		if r.onlyWarns() {
			d.Severity = hcl.DiagWarning
		}
		return false, d
	}
	return r.request == nil || r.request.matches(j.Requester), nil
}

// requestValue returns the value of request, which is not known for all rules that do not ask.
func requestValue(who *job.Requester) cty.Value {
	if who == nil {
		return cty.DynamicVal
	}
	return cty.ObjectVal(map[string]cty.Value{
		"accessor": cty.StringVal(who.Accessor), "client": cty.StringVal(who.Client),
		"policies": list(plain(who.Policies), nil), "roles": list(plain(who.Roles), nil),
	})
}
