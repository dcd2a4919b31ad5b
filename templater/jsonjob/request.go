package jsonjob

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/nomad/api"
	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
)

// Request is what the body of a request to Nomad's API says beside the job itself.
type Request struct {
	// HasJob is false where Nomad would find no job in it.
	HasJob bool
	// ID, JobNamespace and JobRegion stand in the job, Namespace and Region beside it.
	ID, JobNamespace, JobRegion, Namespace, Region string

	source []byte
	doc    *document
}

// ReadRequest reads a body as Nomad's decoder does. A field that is there more than
// once, be it in other letters, is an error: of such fields the decoder merges objects
// and lists, so that a job could be put together that nobody else sees.
func ReadRequest(src []byte) (*Request, error) {
	doc, err := parseJSON(src)
	if err != nil {
		return nil, fmt.Errorf("the request is not valid JSON: %w", err)
	}
	root := doc.root
	if d := findDuplicate(root, reflect.TypeFor[api.JobRegisterRequest]()); d != nil {
		return nil, d
	}
	j := root.get("Job")
	return &Request{
		HasJob: j != nil && j.kind == '{', ID: j.get("ID").str(),
		JobNamespace: j.get("Namespace").str(), JobRegion: j.get("Region").str(),
		Namespace: root.get("Namespace").str(), Region: root.get("Region").str(),
		source: src, doc: doc,
	}, nil
}

// File is the job of the request, as ParseKeeping reads it.
func (r *Request) File(name string, catalog job.Catalog, keep []job.Marked) (*File, hcl.Diagnostics) {
	if bad := bounds.Size(r.source, name, bounds.JSONBytes); bad != nil {
		return nil, hcl.Diagnostics{bad}
	}
	return newFile(r.source, name, r.doc).read(catalog, keep)
}

// duplicate is a field that is there twice.
type duplicate struct {
	path          string
	first, second string // as they are spelt
}

func (d *duplicate) Error() string {
	return fmt.Sprintf("the request has the field %s twice, as %q and %q: Nomad would merge the two. Send it once", strings.TrimPrefix(d.path, "."), d.first, d.second)
}

// under puts the name of what holds d before its path, which need not be put together
// unless there is one.
func (d *duplicate) under(format string, name any) *duplicate {
	d.path = fmt.Sprintf(format, name) + d.path
	return d
}

// findDuplicate finds two members of an object that the decoder would put into one
// field of a struct. Keys of maps are compared by it letter by letter, and the last
// one wins, as it does here.
func findDuplicate(n *node, t reflect.Type) *duplicate {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case n == nil:
	case n.kind == '[' && (t.Kind() == reflect.Slice || t.Kind() == reflect.Array):
		for i, it := range n.items {
			if d := findDuplicate(it.value, t.Elem()); d != nil {
				return d.under("[%d]", i)
			}
		}
	case n.kind == '{' && t.Kind() == reflect.Map:
		for _, it := range n.items {
			if d := findDuplicate(it.value, t.Elem()); d != nil {
				return d.under(".%s", it.name)
			}
		}
	case n.kind == '{' && t.Kind() == reflect.Struct:
		return duplicateField(n, fieldsOf(t))
	}
	return nil
}

func duplicateField(n *node, of *fields) *duplicate {
	seen := make([]*item, len(of.list))
	for _, it := range n.items {
		i := of.index(it.name)
		if i < 0 {
			continue
		}
		f := of.list[i]
		if seen[i] != nil {
			return &duplicate{"." + f.name, seen[i].name, it.name}
		}
		seen[i] = it
		if d := findDuplicate(it.value, f.of); d != nil {
			return d.under(".%s", f.name)
		}
	}
	return nil
}

// fields are those of a struct.
type fields struct {
	list   []field
	places map[string]int // in list
}

// field is one that the decoder fills, with the name that it has in JSON.
type field struct {
	name string
	of   reflect.Type
}

// index is the place of the field that the decoder would fill from a member, -1 for
// none.
func (f *fields) index(name string) int {
	if i, ok := f.places[name]; ok {
		return i
	}
	return slices.IndexFunc(f.list, func(f field) bool { return strings.EqualFold(f.name, name) })
}

// knownFields are a *fields for each reflect.Type that was asked for.
var knownFields sync.Map

func fieldsOf(t reflect.Type) *fields {
	if known, ok := knownFields.Load(t); ok {
		return known.(*fields)
	}
	out := &fields{places: map[string]int{}}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous || name == "-" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		out.places[name] = len(out.list)
		out.list = append(out.list, field{name, f.Type})
	}
	knownFields.Store(t, out)
	return out
}
