package admission

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/jsonjob"
	"github.com/nomad-sidecar/nomad-sidecar/templater/limit"
)

// Rules are the catalog and policy that apply to jobs. They are immutable.
type Rules struct {
	Catalog job.Catalog
	Policy  templater.Policy // nil for no policy
	// Region is the agent's region, for jobs without one.
	Region string
	// DryRun means that the policy neither changes nor denies jobs: warnings describe its effects.
	DryRun bool
	// Analysis says which findings about admitted jobs are warnings.
	Analysis Analysis

	// who registers the job, or nil if no rule asks.
	who *job.Requester
}

// requestName is the file name in diagnostics about a job.
const requestName = "request"

// verdict is the result for a job.
type verdict struct {
	body     []byte // the body to send
	job      job.Job
	changed  bool
	injected []Injected
	proxies  []*templater.Proxy // with a driver by a rule
	defaults []string           // that the policy sets, such as "web/app kill_timeout"
	rules    []string
	warned   []string // rules that only warn
	warnings []string
	denial   *denial
	before   string // digest of the received body
	answered int    // status of Nomad's response, 0 before it arrives
	// unreachable means that answered is the proxy's own status, since Nomad does not respond.
	unreachable bool
	client      limit.Client
	// parsing is set if Nomad parses the job without its sidecar blocks.
	parsing *parsing
	// quiet means that the request is only counted: it concerns no sidecar.
	quiet bool
	audit func() // writes the line about the request, once
}

// denial is the reason of a denied request. text is for the user; summaries contain no values from
// parameters or the job.
type denial struct {
	status    int
	text      string
	summaries []string
}

// Injected is a sidecar in a group.
type Injected struct {
	Group   string `json:"group"`
	Sidecar string `json:"sidecar"`
	Version string `json:"version"`
	Origin  string `json:"origin"`
}

// location is the namespace and region that Nomad would use for a job.
type location struct{ namespace, region string }

// treatTimeout limits the injection into one job.
const treatTimeout = 5 * time.Second

// treat injects into the job of a request body, or denies it, also if that takes too long.
func (r *Rules) treat(ctx context.Context, body []byte, where func(*jsonjob.Request) location) *verdict {
	if r.DryRun && r.Policy != nil {
		return r.rehearse(ctx, body, where)
	}
	return r.enforce(ctx, body, where)
}

func (r *Rules) enforce(ctx context.Context, body []byte, where func(*jsonjob.Request) location) *verdict {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), treatTimeout)
	defer cancel()
	return r.inject(ctx, body, where)
}

// inject injects into the job of a request body, or denies it.
func (r *Rules) inject(ctx context.Context, body []byte, where func(*jsonjob.Request) location) *verdict {
	v, in, diags := r.pick(ctx, body, where)
	if in == nil {
		return v
	}
	_, span := startSpan(ctx, "plan")
	defer span.End()
	diags = append(diags, in.Carry()...)
	v.noteProxies(in.Proxies)
	if !diags.HasErrors() {
		v.body, v.changed = in.Output, !bytes.Equal(in.Output, body)
		diags = append(diags, r.Analysis.of(in.Output)...)
	}
	return r.denied(v, in, diags)
}

// pick reads the job of a request body and chooses its sidecars. The Injection is nil if the
// verdict is final.
func (r *Rules) pick(ctx context.Context, body []byte, where func(*jsonjob.Request) location) (*verdict, *templater.Injection, hcl.Diagnostics) {
	_, span := startSpan(ctx, "choose")
	defer span.End()
	v := &verdict{body: body}
	req, err := jsonjob.ReadRequest(body)
	if err != nil {
		return v.deny(badRequest, "Cannot read the request", err.Error()+"."), nil, nil
	}
	if !req.HasJob {
		return v, nil, nil // Nomad reports the error
	}
	in, diags := r.choose(ctx, req.File, where(req))
	if in != nil {
		v.job = *in.Document.Job()
	}
	if diags.HasErrors() {
		return r.denied(v, in, diags), nil, nil
	}
	v.note(in.Choices)
	v.noteDefaults(in.Defaults)
	return v, in, append(diags, keptResources(req, in.Choices)...)
}

// keptResources returns a warning if Nomad will keep the resources of sidecars that a job already
// has, instead of the definition's resources.
func keptResources(req *jsonjob.Request, choices []*templater.Choice) hcl.Diagnostics {
	if !req.PreserveResources || len(choices) == 0 {
		return nil
	}
	var names []string
	for _, c := range choices {
		names = append(names, c.Group.Name+"/"+c.Definition.Name)
	}
	return hcl.Diagnostics{{Severity: hcl.DiagWarning, Summary: "Sidecars keep old resources", Detail: fmt.Sprintf(
		"-preserve-resources applies to sidecars as well: if the job has them already, %s keep their resources, whatever their definition sets now.", strings.Join(names, ", "))}}
}

// jobReader reads a job and leaves the given injected tasks in place.
type jobReader func(name string, catalog job.Catalog, keep []job.Marked) (*jsonjob.File, hcl.Diagnostics)

// choose returns the sidecars of a job. Sidecars that the author injected before submitting it, by
// blocks or flags that the request does not show, stay unchanged. The Injection is nil if the
// input is not a job.
func (r *Rules) choose(ctx context.Context, read jobReader, at location) (*templater.Injection, hcl.Diagnostics) {
	open := func(keep []job.Marked) (templater.Document, hcl.Diagnostics) {
		file, diags := read(requestName, r.Catalog, keep)
		if diags.HasErrors() {
			return nil, diags
		}
		file.Job().Namespace, file.Job().Region = job.Text{Value: at.namespace}, job.Text{Value: at.region}
		file.Job().Requester = r.who
		return file, diags
	}
	return templater.SelectStored(open, r.Catalog, templater.Flags{Policy: r.Policy, Done: ctx.Done()})
}

func (v *verdict) note(choices []*templater.Choice) {
	for _, c := range choices {
		v.injected = append(v.injected, Injected{c.Group.Name, c.Definition.Name, c.Definition.Version.String(), c.Origin})
		for _, rule := range c.Rules {
			v.noteRule(rule)
		}
	}
}

// noteProxies records the rules that give proxies a driver.
func (v *verdict) noteProxies(proxies []*templater.Proxy) {
	for _, p := range proxies {
		if p.State == templater.StateChosen && p.Rule != "" {
			v.proxies = append(v.proxies, p)
			v.noteRule(p.Rule)
		}
	}
}

func (v *verdict) noteDefaults(states []*templater.DefaultState) {
	for _, s := range states {
		if s.State != templater.DefaultSet {
			continue
		}
		place := s.Group.Name
		if s.Task != "" {
			place += "/" + s.Task
		}
		v.defaults = append(v.defaults, place+" "+s.Default.Name())
		v.noteRule(s.Default.Rule)
	}
}

func (v *verdict) noteWarned(name string) {
	if !slices.Contains(v.warned, name) {
		v.warned = append(v.warned, name)
	}
}

func (v *verdict) noteRule(name string) {
	if !slices.Contains(v.rules, name) {
		v.rules = append(v.rules, name)
	}
}

// denied converts diagnostics to warnings and, if there are errors, to a denial. The Injection is
// nil if the job could not be read. Values of sensitive parameters are redacted: the job's
// submitter may not be allowed to see the policy's values.
func (r *Rules) denied(v *verdict, in *templater.Injection, diags hcl.Diagnostics) *verdict {
	if in != nil {
		diags = in.Redact(diags)
	}
	var errs, summaries []string
	for _, d := range diags {
		text := d.Summary + ": " + d.Detail
		if d.Subject != nil && d.Subject.Filename != requestName {
			text += fmt.Sprintf(" (%s:%d)", d.Subject.Filename, d.Subject.Start.Line)
		}
		rule, byRule := d.Extra.(templater.ByRule)
		if d.Severity == hcl.DiagWarning {
			v.warnings = append(v.warnings, text)
			if byRule {
				v.noteWarned(string(rule))
			}
			continue
		}
		errs, summaries = append(errs, text), append(summaries, d.Summary)
		if byRule {
			v.noteRule(string(rule))
		}
	}
	if len(errs) == 0 {
		return v
	}
	text := strings.Join(errs, "\n")
	if orders := r.concerning(&v.job); len(orders) > 0 {
		var rules []string
		told := len(v.rules) > 0
		for _, o := range orders {
			rules = append(rules, fmt.Sprintf("%q (%s:%d)", o.Rule, o.Range.Filename, o.Range.Start.Line))
			if !told {
				v.noteRule(o.Rule)
			}
		}
		text += "\nRules of the policy that choose sidecars for this job: " + strings.Join(rules, ", ") + "."
	}
	v.denial = &denial{status: forbidden, text: text, summaries: summaries}
	return v
}

// concerning returns the orders that choose sidecars for a job, one per position in the policy.
func (r *Rules) concerning(j *job.Job) []*templater.Order {
	var out []*templater.Order
	if r.Policy == nil {
		return nil
	}
	for _, g := range j.Groups {
		orders, _ := r.Policy.Orders(j, g) // diagnostics were reported before
		for _, o := range orders {
			if !slices.ContainsFunc(out, func(had *templater.Order) bool { return had.Rule == o.Rule && had.Range == o.Range }) {
				out = append(out, o)
			}
		}
	}
	return out
}

func (v *verdict) deny(status int, summary, text string) *verdict {
	v.denial = &denial{status: status, text: summary + ": " + text, summaries: []string{summary}}
	return v
}
