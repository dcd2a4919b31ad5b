package hcljob

import (
	"bytes"
	"fmt"
	"maps"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
)

// File is a parsed job file. Its methods do not change it.
type File struct {
	name   string
	given  string // the name of source
	source []byte
	// base is the source without injected parts; all ranges refer to it.
	base []byte
	file *hcl.File
	// job is the syntax node of the job block.
	job    *hclsyntax.Block
	scope  *scope
	reader *reader // of the job's body
	inputs Inputs
	view   *job.Job
	marks  []job.Marked
	// defaulted are the groups in which the source has defaults of an earlier injection.
	defaulted []string
	// sidecars reports sidecar blocks in the source, in addition to those that comments disable.
	sidecars bool
}

// Parse reads a job file in HCL. name is used in diagnostics. The File is nil if there are
// errors.
func Parse(src []byte, name string, in Inputs) (*File, hcl.Diagnostics) {
	if bad := bounds.HCL(src, name, bounds.HCLBytes); bad != nil {
		return nil, hcl.Diagnostics{bad}
	}
	f := &File{name: name, given: name, source: src, inputs: in}
	whole, diags := hclsyntax.ParseConfig(src, name, hcl.InitialPos)
	f.file = whole
	if diags.HasErrors() {
		return nil, hinted(diags[:1], src) // later errors are most likely consequences
	}
	if bad := bounds.Meter(whole.Body.(*hclsyntax.Body)); bad.HasErrors() {
		return nil, bad
	}
	if j, diags := jobBlock(whole); !diags.HasErrors() {
		f.sidecars = len(sidecarBlocks(j.Body)) > 0
	}
	meshed := map[string]bool{}
	f.base, diags = Eject(src, name)
	if diags.HasErrors() {
		return nil, diags
	}
	if !bytes.Equal(f.base, src) {
		f.marks, f.defaulted, diags = readMarks(whole, in, meshed)
		if diags.HasErrors() {
			return nil, diags
		}
		// Line numbers differ from the original file, so the name does too.
		f.name = name + " without its sidecars"
		if f.file, diags = hclsyntax.ParseConfig(f.base, f.name, hcl.InitialPos); diags.HasErrors() {
			return nil, diags
		}
		if bad := bounds.Meter(f.file.Body.(*hclsyntax.Body)); bad.HasErrors() {
			return nil, bad
		}
	}
	if f.job, diags = jobBlock(f.file); diags.HasErrors() {
		return nil, diags
	}
	var more hcl.Diagnostics
	f.scope, more = newScope(f.file, in)
	diags = append(diags, more...)
	f.view, more = f.readJob()
	diags = append(diags, more...)
	for _, g := range f.view.Groups {
		for _, s := range g.Services {
			if s.Mesh != nil {
				s.Mesh.Marked = meshed[g.Name+"/"+s.Name.String()]
			}
		}
	}
	if over := f.scope.budget.Exceeded(); over.HasErrors() {
		return nil, over // without the errors that it causes
	}
	if diags.HasErrors() {
		return nil, diags
	}
	return f, diags
}

func jobBlock(file *hcl.File) (*hclsyntax.Block, hcl.Diagnostics) {
	var found *hclsyntax.Block
	for _, b := range file.Body.(*hclsyntax.Body).Blocks {
		if b.Type != "job" {
			continue
		}
		if found != nil {
			return nil, hcl.Diagnostics{diagnostic.Error(b.DefRange(), "Duplicate job block", fmt.Sprintf("A file holds one job; the first is at %s.", found.DefRange()))}
		}
		found = b
	}
	if found == nil {
		return nil, hcl.Diagnostics{diagnostic.Error(file.Body.MissingItemRange(), "Missing job block", `A job file holds a job "name" { … } block.`)}
	}
	if len(found.Labels) != 1 {
		return nil, hcl.Diagnostics{diagnostic.Error(found.DefRange(), "Invalid job block", `A job block has one label, its name: job "name" { … }.`)}
	}
	return found, nil
}

// Job returns the view of the job for injection, without injected parts.
func (f *File) Job() *job.Job { return f.view }

// Marks returns the marks of the injected tasks that the file came with.
func (f *File) Marks() []job.Marked { return f.marks }

// Defaulted returns the groups with defaults of an earlier injection.
func (f *File) Defaulted() []string { return f.defaulted }

// Source returns the original file.
func (f *File) Source() ([]byte, hcl.Diagnostics) { return f.source, nil }

// HasSidecars reports whether the file has sidecar blocks, which Nomad does not accept. Those that an
// injection has disabled do not count.
func (f *File) HasSidecars() bool { return f.sidecars }

// Files returns the sources that diagnostics of this file refer to. Ranges refer to the file
// without injected parts.
func (f *File) Files() map[string]*hcl.File {
	files := map[string]*hcl.File{f.given: {Bytes: f.source}, f.name: f.file}
	maps.Copy(files, f.scope.files)
	return files
}

// readMarks returns the marks of tasks in an injected file, and the groups with marks of defaults. It
// records the services with the mark of a proxy in meshed, as GROUP/NAME.
func readMarks(whole *hcl.File, in Inputs, meshed map[string]bool) ([]job.Marked, []string, hcl.Diagnostics) {
	j, diags := jobBlock(whole)
	if diags.HasErrors() {
		return nil, nil, diags
	}
	scope, diags := newScope(whole, in)
	if diags.HasErrors() {
		return nil, nil, diags
	}
	var marks []job.Marked
	var defaulted []string
	for _, g := range newReader(scope).samples(j.Body, "group") {
		if g.in.strayMark(g.Body) != nil {
			defaulted = append(defaulted, g.Labels[0])
		}
		for _, s := range g.in.blocks(g.Body) {
			if s.Type == "service" && proxyMarked(s) {
				meshed[g.Labels[0]+"/"+s.in.service(s).Name.String()] = true
			}
		}
		for _, t := range g.in.samples(g.Body, "task") {
			meta := map[string]string{}
			texts, _ := t.in.texts(t.Body, "meta")
			for k, v := range texts {
				meta[k] = v.Value
			}
			if m := job.ReadMark(meta); m != nil {
				marks = append(marks, job.Marked{Group: g.Labels[0], Task: t.Labels[0], Mark: m})
			}
		}
	}
	return marks, defaulted, scope.budget.Exceeded()
}

// samples returns the blocks of a type that have a name, and one for each dynamic block that
// cannot be expanded.
func (r *reader) samples(body *hclsyntax.Body, blockType string) []block {
	var out []block
	for _, b := range r.blocks(body) {
		if sample := (*block)(nil); b.unknown != nil && b.kind() == blockType {
			if sample = r.sample(b.Block); sample != nil {
				b = *sample
			}
		}
		if b.Type == blockType && len(b.Labels) == 1 {
			out = append(out, b)
		}
	}
	return out
}
