package jsonjob

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/hashicorp/nomad/api"
)

// Request is what the body of a request to Nomad's API says beside the job itself.
type Request struct {
	// HasJob is false where Nomad would find no job in it.
	HasJob bool
	// ID, JobNamespace and JobRegion stand in the job, Namespace and Region beside it.
	ID, JobNamespace, JobRegion, Namespace, Region string
}

// ReadRequest reads a body as Nomad's decoder does. A field that is there more than
// once, be it in other letters, is an error: of such fields the decoder merges objects
// and lists, so that a job could be put together that nobody else sees.
func ReadRequest(src []byte) (*Request, error) {
	root, _, _, err := parseJSON(src)
	if err != nil {
		return nil, fmt.Errorf("the request is not valid JSON: %w", err)
	}
	if err := (duplicates{}).check(root, reflect.TypeFor[api.JobRegisterRequest](), ""); err != nil {
		return nil, err
	}
	job := root.get("Job")
	return &Request{
		HasJob: job != nil && job.kind == '{', ID: job.get("ID").str(),
		JobNamespace: job.get("Namespace").str(), JobRegion: job.get("Region").str(),
		Namespace: root.get("Namespace").str(), Region: root.get("Region").str(),
	}, nil
}

// duplicates looks for fields that are there twice. It remembers the fields of types, of
// which a job has the same ones in each of its groups.
type duplicates map[reflect.Type][]field

// field is one that the decoder fills, with the name that it has in JSON.
type field struct {
	name string
	of   reflect.Type
}

func (d duplicates) fields(t reflect.Type) []field {
	if known, ok := d[t]; ok {
		return known
	}
	var out []field
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous || name == "-" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		out = append(out, field{name, f.Type})
	}
	d[t] = out
	return out
}

// check finds two members of an object that the decoder would put into one
// field of a struct. Keys of maps are compared by it letter by letter, and the last
// one wins, as it does here.
func (d duplicates) check(n *node, t reflect.Type, path string) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case n == nil:
	case n.kind == '[' && (t.Kind() == reflect.Slice || t.Kind() == reflect.Array):
		for i, it := range n.items {
			if err := d.check(it.value, t.Elem(), fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
	case n.kind == '{' && t.Kind() == reflect.Map:
		for _, it := range n.items {
			if err := d.check(it.value, t.Elem(), path+"."+it.name); err != nil {
				return err
			}
		}
	case n.kind == '{' && t.Kind() == reflect.Struct:
		return d.checkFields(n, t, path)
	}
	return nil
}

func (d duplicates) checkFields(n *node, t reflect.Type, path string) error {
	for _, f := range d.fields(t) {
		at, seen := "", ""
		for _, it := range n.items {
			if !strings.EqualFold(it.name, f.name) {
				continue
			}
			at = strings.TrimPrefix(path+"."+f.name, ".")
			if seen != "" {
				return fmt.Errorf("the request has the field %s twice, as %q and %q: Nomad would merge the two. Send it once", at, seen, it.name)
			}
			seen = it.name
			if err := d.check(it.value, f.of, at); err != nil {
				return err
			}
		}
	}
	return nil
}
