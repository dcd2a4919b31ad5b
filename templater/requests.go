package templater

import (
	"regexp"
	"strings"

	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
)

// continuesConstraint matches a word that belongs to the constraint before it, such as "1.0" in
// "topz@~> 1.0", and not to a name.
var continuesConstraint = regexp.MustCompile(`^(@.*|[<>=!~]+.*|v?[0-9]+(\.[0-9].*)?)$`)

// ParseRequests reads a list of sidecars, NAME or NAME@CONSTRAINT, separated by commas or blanks.
// The parts of a constraint may be separated in the same way, as in "topz@>= 1.0, < 2.0". A name
// may be empty.
func ParseRequests(list string) []*job.Request {
	var out []*job.Request
	var last *job.Request
	constrained := false
	for _, word := range splitList(list) {
		if last != nil && continuesConstraint.MatchString(word) && (constrained || word[0] == '@') {
			extend(last, strings.TrimPrefix(word, "@"))
			constrained = true
			continue
		}
		var constraint string
		last = &job.Request{}
		last.Sidecar, constraint, constrained = strings.Cut(word, "@")
		extend(last, constraint)
		out = append(out, last)
	}
	return out
}

// extend adds a word to the constraint of a request.
func extend(r *job.Request, word string) {
	complete := r.Constraint != "" && strings.TrimRight(r.Constraint, "<>=!~") == r.Constraint
	if complete && word != "" {
		word = "," + word
	}
	r.Constraint += word
}
