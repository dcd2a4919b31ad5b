package kube

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"

	"github.com/hashicorp/hcl/v2"

	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
)

// maxOutput limits all jobs together. A ConfigMap of a megabyte may be mounted by many containers.
const maxOutput = bounds.AddedBytes

// Options of an import.
type Options struct {
	// CoreMHz is the CPU in MHz that Nomad counts for a core of Kubernetes.
	CoreMHz int
}

// Job is a job made of one object.
type Job struct {
	Name      string
	Namespace string // "" for the default
	Text      []byte // HCL
	// Secrets are the items of the Nomad variable at VariablePath that the job reads, with the
	// values that are in the manifests.
	Secrets      map[string]string
	VariablePath string
}

// Result is an import without errors.
type Result struct {
	Jobs     []Job
	Findings []Finding
}

// importer is one import.
type importer struct {
	options   Options
	fields    map[string]Field
	objects   []*object
	documents int
	findings  []Finding
	seen      map[string]bool // findings, by document and path
	diags     hcl.Diagnostics
	output    int // bytes
}

// Import translates manifests. Errors are in the diagnostics; the result is nil then.
func Import(files []Source, o Options) (*Result, hcl.Diagnostics) {
	if o.CoreMHz <= 0 {
		o.CoreMHz = DefaultCoreMHz
	}
	im := &importer{options: o, fields: Fields(), seen: map[string]bool{}}
	for _, f := range files {
		im.read(f)
	}
	if !im.diags.HasErrors() {
		im.unique()
	}
	if im.diags.HasErrors() {
		return nil, im.diags
	}
	for _, o := range im.objects {
		if o.value != nil {
			im.walk(reflect.ValueOf(o.value), o, "")
		}
	}
	jobs := im.jobs()
	if len(jobs) == 0 && !im.diags.HasErrors() {
		im.diags = append(im.diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "No workload", Detail: "The files have no Pod, Deployment, StatefulSet, DaemonSet, Job or CronJob."})
	}
	if im.diags.HasErrors() {
		return nil, im.diags
	}
	im.unused()
	texts := im.print(jobs)
	if im.diags.HasErrors() {
		return nil, im.diags
	}
	return &Result{Jobs: texts, Findings: im.findings}, im.diags
}

// find records a part that the job lacks, once.
func (im *importer) find(of *object, path string, fate Fate, format string, args ...any) {
	key := fmt.Sprintf("%p %s", of, path)
	if im.seen[key] {
		return
	}
	im.seen[key] = true
	f := Finding{Fate: fate, Document: of.String(), Path: path, Text: fmt.Sprintf(format, args...), Range: of.position(path), of: of}
	if of.kind == "Secret" && path != "" {
		f.Range = of.position("kind") // its source line must not show a value
	}
	im.findings = append(im.findings, f)
}

// wrong records an error.
func (im *importer) wrong(of *object, path, format string, args ...any) {
	im.diags = append(im.diags, problem(of.position(path), "Invalid manifest", "%s: %s: %s", of, path, fmt.Sprintf(format, args...)))
}

// unique reports objects that are in the files twice.
func (im *importer) unique() {
	first := map[string]*object{}
	for _, o := range im.objects {
		key := o.apiVersion + "/" + o.kind + "/" + o.ns() + "/" + o.name
		if other := first[key]; other != nil {
			at := other.position("")
			im.diags = append(im.diags, problem(o.position(""), "Duplicate object", "%s is also in %s, line %d. Remove one of them.", o, at.Filename, at.Start.Line))
			continue
		}
		first[key] = o
	}
}

// ns returns the object's namespace.
func (o *object) ns() string { return cmp.Or(o.namespace, "default") }

// unused reports objects that no job uses.
func (im *importer) unused() {
	for _, o := range im.objects {
		if o.value == nil || o.used {
			continue
		}
		what := "no workload in these files uses it"
		if o.kind == "Service" {
			what = "its selector matches no workload in these files"
		}
		im.find(o, "", NoEquivalent, "%s", what)
	}
}

// print writes the jobs.
func (im *importer) print(jobs []*podJob) []Job {
	slices.SortStableFunc(im.findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Range.Filename, b.Range.Filename), cmp.Compare(a.Range.Start.Line, b.Range.Start.Line))
	})
	var out []Job
	names := map[string]*object{}
	for _, j := range jobs {
		key := j.of.ns() + "/" + j.name
		if other := names[key]; other != nil {
			im.diags = append(im.diags, problem(j.of.position("metadata.name"), "Two jobs of one name", "%s and %s would both be job %q. Rename one of them.", other, j.of, j.name))
			continue
		}
		names[key] = j.of
		out = append(out, j.print())
	}
	return out
}

// lookup returns an object of the files by kind, namespace and name.
func (im *importer) lookup(kind, namespace, name string) *object {
	for _, o := range im.objects {
		if o.kind == kind && o.name == name && o.ns() == namespace && o.value != nil {
			return o
		}
	}
	return nil
}
