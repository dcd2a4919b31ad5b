package policy

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// Suffix ends the name of every policy file in a folder.
const Suffix = ".policy.hcl"

// Policy is a list of rules. The zero value has none.
type Policy struct {
	Rules    []*Rule
	files    map[string]*hcl.File
	analysis analysis
}

// Files returns the sources that were read, for printing diagnostics.
func (p *Policy) Files() map[string]*hcl.File { return p.files }

// Load adds the rules of all *.policy.hcl files below the root of fsys, in lexical order. Prefix
// is prepended to file names in diagnostics. A folder without policy files is an error, because it
// is probably a mistake.
func (p *Policy) Load(fsys fs.FS, prefix string) hcl.Diagnostics {
	var diags hcl.Diagnostics
	found := false
	err := fs.WalkDir(fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(name, Suffix) {
			return err
		}
		found = true
		src, err := bounds.ReadFS(fsys, name, bounds.DefinitionBytes)
		if err == nil {
			diags = append(diags, p.Add(src, path.Join(prefix, name))...)
		}
		return err
	})
	switch {
	case err != nil:
		diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Cannot read the policy", Detail: fmt.Sprintf("%s: %s.", prefix, err)})
	case !found:
		diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "No policy",
			Detail: fmt.Sprintf("%s contains no *%s file. Rename the policy files, or name one file.", prefix, Suffix)})
	}
	return diags
}

// Add adds the rules of one file.
func (p *Policy) Add(src []byte, filename string) hcl.Diagnostics {
	if p.files == nil {
		p.files = map[string]*hcl.File{}
	}
	src = sidecar.UnixLines(src)
	p.files[filename] = &hcl.File{Bytes: src}
	if bad := bounds.HCL(src, filename, bounds.DefinitionBytes); bad != nil {
		return hcl.Diagnostics{bad}
	}
	file, diags := hclsyntax.ParseConfig(src, filename, hcl.InitialPos)
	if diags.HasErrors() {
		return diags[:1] // later errors are most likely consequences of the first
	}
	if bad := bounds.Meter(file.Body.(*hclsyntax.Body)); bad.HasErrors() {
		return bad
	}
	content, diags := file.Body.Content(&hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{{Type: "rule", LabelNames: []string{"name"}}, {Type: "analyze"}}})
	for _, b := range content.Blocks {
		if b.Type == "analyze" {
			diags = append(diags, p.analysis.decode(b)...)
			continue
		}
		rule, more := decodeRule(b)
		diags = append(diags, more...)
		if first := p.rule(rule.Name); first != nil {
			diags = append(diags, diagnostic.Error(b.DefRange, "Duplicate rule", fmt.Sprintf("Rule %q is already defined at %s. Rename one of them.", rule.Name, first.Range)))
		}
		p.Rules = append(p.Rules, rule)
	}
	return diags
}

func (p *Policy) rule(name string) *Rule {
	for _, r := range p.Rules {
		if r.Name == name {
			return r
		}
	}
	return nil
}

// CheckCatalog reports sidecars, versions and parameters that are missing from the catalog. It
// also records which values are sensitive; before it runs, none are known to be.
func (p *Policy) CheckCatalog(catalog job.Catalog) hcl.Diagnostics {
	var diags hcl.Diagnostics
	for _, r := range p.Rules {
		for _, in := range r.injects {
			diags = append(append(diags, in.check(catalog)...), in.checkOutputs(catalog)...)
		}
		for _, in := range r.parameters {
			diags = append(append(diags, in.checkParameters(catalog)...), in.checkOutputs(catalog)...)
		}
	}
	return diags
}

// MaySkip reports whether a rule has on_error = "skip".
func (p *Policy) MaySkip() bool {
	return slices.ContainsFunc(p.Rules, func(r *Rule) bool { return r.Skip })
}

// Orders returns the sidecars that the rules choose for a group.
func (p *Policy) Orders(j *job.Job, g *job.Group) ([]*templater.Order, hcl.Diagnostics) {
	var orders []*templater.Order
	var diags hcl.Diagnostics
	for _, r := range p.Rules {
		ok, undecided := r.match.matches(j, g)
		if undecided != nil && !r.onlyProxies(g) && !r.onlyParameters() {
			d := undecided.Error(fmt.Sprintf("Whether rule %q of the policy concerns group %q", r.Name, g.Name))
			if r.onlyWarns() {
				d.Severity = hcl.DiagWarning
			}
			diags = append(diags, d)
		}
		if !ok {
			continue
		}
		for _, in := range r.injects {
			o, more := r.order(in, j, g, nil)
			orders, diags = append(orders, o), append(diags, more...)
		}
	}
	return orders, diags
}

// Proxies returns the driver that the first matching rule gives to the proxies of a group.
func (p *Policy) Proxies(j *job.Job, g *job.Group) *templater.ProxyOrder {
	for _, r := range p.Rules {
		if r.connect == "" {
			continue
		}
		if ok, _ := r.match.matches(j, g); ok { // Orders reports undecided matches
			return &templater.ProxyOrder{Rule: r.Name, Driver: r.connect, Range: r.connectAt}
		}
	}
	return nil
}

// onlyProxies reports whether the rule concerns nothing of a group, because the rule is about proxies
// only and the group has none.
func (r *Rule) onlyProxies(g *job.Group) bool {
	return r.connect != "" && len(r.injects)+len(r.parameters)+len(r.defaults)+len(r.validations) == 0 &&
		!slices.ContainsFunc(g.Services, func(s job.Service) bool { return s.Mesh != nil })
}

// onlyParameters reports whether the rule concerns nothing but parameters of chosen sidecars;
// Parameters reports undecided matches.
func (r *Rule) onlyParameters() bool {
	return len(r.parameters) > 0 && r.connect == "" && len(r.injects)+len(r.defaults)+len(r.validations) == 0
}

// discreet hides the details of errors in sensitive expressions: HCL's message may contain part of
// the value.
func (in *inject) discreet(r *Rule, parameter string, diags hcl.Diagnostics) hcl.Diagnostics {
	if !diags.HasErrors() || !in.sensitive[parameter] {
		return diags
	}
	return hcl.Diagnostics{diagnostic.Error(in.at, diags[0].Summary, fmt.Sprintf("Rule %q sets parameter %q of sidecar %q, which is sensitive, to an expression that cannot be evaluated for this job. Check the expression.", r.Name, parameter, in.sidecar))}
}

// Check returns a diagnostic for each failed validation of a matching rule. Equal messages are
// reported once.
func (p *Policy) Check(j *job.Job, sidecars map[*job.Group]templater.Sidecars) hcl.Diagnostics {
	var diags hcl.Diagnostics
	told := map[string]bool{}
	for _, r := range p.Rules {
		known, undecided := r.concerns(j)
		for _, g := range j.Groups {
			if ok, _ := r.match.matches(j, g); !ok { // Orders reports undecided matches
				continue
			}
			if undecided != nil {
				diags = append(diags, undecided)
				break
			}
			if !known {
				break
			}
			for _, v := range r.validations {
				if d := v.check(r, j, g, sidecars[g]); d != nil && !told[r.Name+d.Detail] {
					told[r.Name+d.Detail] = true
					diags = append(diags, d)
				}
			}
		}
	}
	return diags
}
