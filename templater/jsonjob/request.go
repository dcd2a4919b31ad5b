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
	if err := checkDuplicates(root, reflect.TypeFor[api.JobRegisterRequest](), ""); err != nil {
		return nil, err
	}
	job := root.get("Job")
	return &Request{
		HasJob: job != nil && job.kind == '{', ID: job.get("ID").str(),
		JobNamespace: job.get("Namespace").str(), JobRegion: job.get("Region").str(),
		Namespace: root.get("Namespace").str(), Region: root.get("Region").str(),
	}, nil
}

// checkDuplicates finds two members of an object that the decoder would put into one
// field of a struct. Keys of maps are compared by it letter by letter, and the last
// one wins, as it does here.
func checkDuplicates(n *node, t reflect.Type, path string) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case n == nil:
	case n.kind == '[' && (t.Kind() == reflect.Slice || t.Kind() == reflect.Array):
		for i, it := range n.items {
			if err := checkDuplicates(it.value, t.Elem(), fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
	case n.kind == '{' && t.Kind() == reflect.Map:
		for _, it := range n.items {
			if err := checkDuplicates(it.value, t.Elem(), path+"."+it.name); err != nil {
				return err
			}
		}
	case n.kind == '{' && t.Kind() == reflect.Struct:
		return checkFields(n, t, path)
	}
	return nil
}

func checkFields(n *node, t reflect.Type, path string) error {
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous || name == "-" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		at := strings.TrimPrefix(path+"."+name, ".")
		seen := ""
		for _, it := range n.items {
			if !strings.EqualFold(it.name, name) {
				continue
			}
			if seen != "" {
				return fmt.Errorf("the request has the field %s twice, as %q and %q: Nomad would merge the two. Send it once", at, seen, it.name)
			}
			seen = it.name
			if err := checkDuplicates(it.value, f.Type, at); err != nil {
				return err
			}
		}
	}
	return nil
}
