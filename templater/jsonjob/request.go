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

// Request is the body of a request to Nomad's API.
type Request struct {
	// HasJob is false if Nomad would find no job in it.
	HasJob bool
	// ID, JobNamespace and JobRegion are in the job, Namespace and Region beside it.
	ID, JobNamespace, JobRegion, Namespace, Region string
	// PreserveResources means that Nomad keeps the resources of tasks that the job already has.
	PreserveResources bool

	source []byte
	doc    *document
}

// ReadRequest reads a body as Nomad's decoder does. A duplicate field, also in other letter
// case, is an error: the decoder merges the objects and lists of such fields, so the request
// could contain a job that no other reader sees.
func ReadRequest(src []byte) (*Request, error) {
	doc, err := parseJSON(src)
	if err != nil {
		return nil, fmt.Errorf("the request is not valid JSON: %w", err)
	}
	root := doc.root
	if d := findDuplicate(root, reflect.TypeFor[api.JobRegisterRequest]()); d != nil {
		return nil, d
	}
	if n := findNull(root, reflect.TypeFor[api.JobRegisterRequest]()); n != nil {
		return nil, n
	}
	j := root.get("Job")
	return &Request{
		HasJob: j != nil && j.kind == '{', ID: j.get("ID").str(),
		JobNamespace: j.get("Namespace").str(), JobRegion: j.get("Region").str(),
		Namespace: root.get("Namespace").str(), Region: root.get("Region").str(),
		PreserveResources: root.get("PreserveResources").isTrue(),
		source:            src, doc: doc,
	}, nil
}

// File returns the job of the request, as read by ParseKeeping.
func (r *Request) File(name string, catalog job.Catalog, keep []job.Marked) (*File, hcl.Diagnostics) {
	if bad := bounds.Size(r.source, name, bounds.JSONBytes); bad != nil {
		return nil, hcl.Diagnostics{bad}
	}
	return newFile(r.source, name, r.doc).read(catalog, keep)
}

// duplicate is a field that occurs twice.
type duplicate struct {
	path          string
	first, second string // as they are spelt
}

func (d *duplicate) Error() string {
	return fmt.Sprintf("the request has the field %s twice, as %q and %q: Nomad would merge the two. Send it once", strings.TrimPrefix(d.path, "."), d.first, d.second)
}

// under prepends the name of the container to the path of d; it formats only if d is not nil.
func (d *duplicate) under(format string, name any) *duplicate {
	d.path = fmt.Sprintf(format, name) + d.path
	return d
}

// findDuplicate finds two members of an object that the decoder would store in one field of a
// struct. The decoder compares map keys exactly, and the last one wins, as here.
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

// fields are the fields of a struct.
type fields struct {
	list   []field
	byName map[string]int // index in list
}

// field is a field that the decoder sets, with its name in JSON.
type field struct {
	name string
	of   reflect.Type
}

// index returns the index of the field that the decoder would set from a member, or -1.
func (f *fields) index(name string) int {
	if i, ok := f.byName[name]; ok {
		return i
	}
	return slices.IndexFunc(f.list, func(f field) bool { return strings.EqualFold(f.name, name) })
}

// knownFields caches a *fields for each reflect.Type.
var knownFields sync.Map

func fieldsOf(t reflect.Type) *fields {
	if known, ok := knownFields.Load(t); ok {
		return known.(*fields)
	}
	out := &fields{byName: map[string]int{}}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous || name == "-" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		out.byName[name] = len(out.list)
		out.list = append(out.list, field{name, f.Type})
	}
	knownFields.Store(t, out)
	return out
}
