package jsonjob

import (
	"bytes"
	"strings"

	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// textRefs returns references to outputs in the job's texts, except in the values of parameters in meta and
// in injected tasks.
func (f *File) textRefs() []job.TextRef {
	if !bytes.Contains(f.source, []byte(sidecar.OutputRoot+".")) {
		return nil
	}
	return f.textRefsIn(nil, "", f.job)
}

func (f *File) textRefsIn(to []job.TextRef, name string, n *node) []job.TextRef {
	if n.kind == 0 {
		text := strings.Contains(n.text, sidecar.OutputRoot+".")
		if text && len(to) < job.MaxTextRefs && sidecar.RefersToOutput(cty.StringVal(unquote(n.text))) {
			to = append(to, job.TextRef{Name: strings.Clone(name), Range: f.at(n.start)})
		}
		return to
	}
	if f.kept[n] {
		return to
	}
	for _, it := range n.items {
		if name == "Meta" && strings.HasPrefix(it.name, job.MetaPrefix) {
			continue
		}
		inner := name // of an element
		if n.kind == '{' {
			inner = it.name
		}
		to = f.textRefsIn(to, inner, it.value)
	}
	return to
}
