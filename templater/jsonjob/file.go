package jsonjob

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sort"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/nomad/api"

	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
)

// File is a job in JSON. Apply does not change it: it works on a copy.
type File struct {
	name   string
	source []byte
	lines  []int // offsets of the lines of source
	*document
	job   *node
	depth int // of the job object
	step  string
	marks []job.Marked
	kept  map[*node]bool // injected tasks to keep
	// meshed are the marks of services with an injected driver of the proxy, proxies their tasks.
	meshed  map[*node]*job.MeshMark
	proxies map[*node]bool
	// before is the job with its injected parts, or nil if there are none.
	before *node
	view   *job.Job
	// filledIn caches defaults as Nomad completes them.
	filledIn map[string]map[string]any
}

// Parse reads a job. name is used in diagnostics. Injected parts are removed if the catalog confirms
// their marks; tasks with other marks are kept, and Plan refuses to change their group. The File is
// nil if there are errors.
func Parse(src []byte, name string, catalog job.Catalog) (*File, hcl.Diagnostics) {
	return ParseKeeping(src, name, catalog, nil)
}

// ParseKeeping is Parse that leaves the injected parts of the marks in keep in place. Marks are
// compared by group, task and sidecar.
func ParseKeeping(src []byte, name string, catalog job.Catalog, keep []job.Marked) (*File, hcl.Diagnostics) {
	if bad := bounds.Size(src, name, bounds.JSONBytes); bad != nil {
		return nil, hcl.Diagnostics{bad}
	}
	doc, err := parseJSON(src)
	if err != nil {
		f := newFile(src, name, nil)
		at := f.at(0)
		var syntax *syntaxError
		if errors.As(err, &syntax) {
			at = f.at(syntax.offset)
		}
		return nil, hcl.Diagnostics{diagnostic.Error(at, "Invalid JSON", fmt.Sprintf("The job is not valid JSON: %s.", err))}
	}
	f := newFile(src, name, doc)
	f.findJob()
	if n := findNull(f.job, reflect.TypeFor[api.Job]()); n != nil {
		return nil, hcl.Diagnostics{diagnostic.Error(f.at(n.offset), "Null in the job", n.Error()+".")}
	}
	return f.read(catalog, keep)
}

// newFile returns the file of a document, which it does not change.
func newFile(src []byte, name string, doc *document) *File {
	return &File{name: name, source: src, lines: lineStarts(src), document: doc, kept: map[*node]bool{}, meshed: map[*node]*job.MeshMark{}, proxies: map[*node]bool{}, filledIn: map[string]map[string]any{}}
}

// read finds the job in the document, and removes the injected parts.
func (f *File) read(catalog job.Catalog, keep []job.Marked) (*File, hcl.Diagnostics) {
	f.step = step(f.root)
	f.findJob()
	if f.job.kind != '{' || (f.job.member("ID") == nil && f.job.member("TaskGroups") == nil) {
		return nil, hcl.Diagnostics{f.notAJob()}
	}
	f.eject(catalog, keep)
	f.view = f.readJob()
	return f, nil
}

// notAJob returns the error for JSON that is no job. HCL has a JSON syntax too, which Nomad's own
// command accepts.
func (f *File) notAJob() *hcl.Diagnostic {
	summary, detail := "Not a job", `The JSON is neither a job nor {"Job": …}. Pass the output of "nomad job run -output" or "nomad job inspect".`
	if f.hasBlocks() {
		summary, detail = "HCL's JSON syntax", `This job looks like blocks of HCL in JSON, not like a job of Nomad's API. Convert it with "nomad job run -output FILE", and pass the result.`
	}
	return diagnostic.Error(f.at(f.job.start), summary, detail)
}

// hasBlocks reports whether the document is {"job": {NAME: {…}}}, which HCL reads as a block.
func (f *File) hasBlocks() bool {
	for _, it := range f.root.items {
		if it.name == "job" && it.value.kind != 0 && len(it.value.items) > 0 {
			return !slices.ContainsFunc(it.value.items, func(i *item) bool { return i.value.kind == 0 })
		}
	}
	return false
}

func (f *File) findJob() {
	f.job, f.depth = f.root, 0
	if inner := f.root.get("Job"); inner != nil {
		f.job, f.depth = inner, 1
	}
}

// Job returns the view of the job for injection, without injected parts.
func (f *File) Job() *job.Job { return f.view }

// Marks returns the marks of the injected tasks that the job came with.
func (f *File) Marks() []job.Marked { return f.marks }

// Source returns the original job.
func (f *File) Source() ([]byte, hcl.Diagnostics) { return f.source, nil }

// Files returns the sources that diagnostics of this file refer to.
func (f *File) Files() map[string]*hcl.File {
	return map[string]*hcl.File{f.name: {Bytes: f.source}}
}

// bytes returns the text with root as its value.
func (f *File) bytes(root *node) []byte {
	out := append(make([]byte, 0, len(f.lead)+root.length()+len(f.rest)), f.lead...)
	return append(root.write(out), f.rest...)
}

// layout returns the layout of a container at a depth below the job.
func (f *File) layout(depth int) layout {
	l := layout{step: f.step}
	for range f.depth + depth {
		l.prefix += f.step
	}
	return l
}

// at returns the position of a byte of the source.
func (f *File) at(offset int) hcl.Range {
	offset = min(max(offset, 0), len(f.source))
	line := sort.SearchInts(f.lines, offset+1) // number of lines that begin at or before offset
	begin := f.lines[line-1]
	pos := hcl.Pos{Line: line, Column: offset - begin + 1, Byte: offset}
	end := pos
	if offset < len(f.source) && f.source[offset] != '\n' {
		end.Byte, end.Column = end.Byte+1, end.Column+1
	}
	return hcl.Range{Filename: f.name, Start: pos, End: end}
}

// lineStarts returns the offsets of the lines of a text.
func lineStarts(src []byte) []int {
	starts := []int{0}
	for at := 0; ; {
		i := bytes.IndexByte(src[at:], '\n')
		if i < 0 {
			return starts
		}
		at += i + 1
		starts = append(starts, at)
	}
}
