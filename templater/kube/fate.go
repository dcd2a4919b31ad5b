package kube

import "github.com/hashicorp/hcl/v2"

// Fate is what becomes of a field of a manifest.
type Fate int

const (
	// Translated fields are in the job. The field's text says where.
	Translated Fate = iota
	// Dropped fields have no effect on a pod: the server writes them, or only Kubernetes uses them.
	Dropped
	// NoEquivalent fields ask for something that neither Nomad nor the pod driver has.
	NoEquivalent
	// Decision fields can be had, but not without facts that are not in the manifest.
	Decision
)

func (f Fate) String() string {
	return [...]string{"translated", "dropped", "no equivalent", "needs a decision"}[f]
}

// Field is an entry of the table of fields.
type Field struct {
	Fate Fate
	Text string
	// Harmless are values that equal Kubernetes' defaults or have no effect: they are dropped.
	Harmless []string
}

// Finding is a part of a manifest that the job lacks.
type Finding struct {
	Fate     Fate   // NoEquivalent or Decision
	Document string // such as `Deployment "web"`
	Path     string // such as spec.template.spec.containers[1].livenessProbe; empty for the whole document
	Text     string
	Range    hcl.Range

	of  *object
	job *podJob // the job with the comment; nil if no job uses the document
}
