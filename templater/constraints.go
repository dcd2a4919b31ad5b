package templater

import (
	"github.com/hashicorp/hcl/v2"

	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
)

// constraints finds constraints by their keys, so that a job of many takes time in proportion to its
// size.
type constraints struct {
	known map[string]hcl.Range // by key
	// operators are the reasons why the operators of an attribute's constraints are unknown.
	operators map[string]*diagnostic.Unknown
	more      *diagnostic.Unknown // there may be constraints on any attribute
}

func constraintsOf(lists ...[]job.Constraint) *constraints {
	out := &constraints{known: map[string]hcl.Range{}, operators: map[string]*diagnostic.Unknown{}}
	for _, list := range lists {
		for _, c := range list {
			switch {
			case c.Unknown != nil:
				out.more = c.Unknown
			case c.Attribute.Unknown != nil:
				out.more = c.Attribute.Unknown
			case c.Operator.Unknown != nil:
				out.operators[c.Attribute.Value] = c.Operator.Unknown
			default:
				out.known[c.Key()] = c.Range
			}
		}
	}
	return out
}

// written returns the position of a constraint with a key, or nil.
func (c *constraints) written(key string) *job.Written {
	if at, ok := c.known[key]; ok {
		return &job.Written{Range: at}
	}
	u := c.operators[job.AttributeOf(key)]
	if u == nil {
		u = c.more
	}
	if u == nil {
		return nil
	}
	return &job.Written{Unknown: u, Range: u.Range}
}
