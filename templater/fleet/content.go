package fleet

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
)

// content returns a digest of a stored job without its counts and without the fields that Nomad
// maintains. Two versions with the same content differ at most in how far they are scaled.
func content(raw []byte) (string, error) {
	var fields map[string]any
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(&fields); err != nil {
		return "", fmt.Errorf("read a job that Nomad gave: %w", err)
	}
	for _, name := range []string{
		"CreateIndex", "ModifyIndex", "JobModifyIndex", "Version", "VersionTag", "SubmitTime", "Status", "StatusDescription",
		"Stable", "NomadTokenID",
	} {
		delete(fields, name)
	}
	groups, _ := fields["TaskGroups"].([]any)
	for _, g := range groups {
		group, _ := g.(map[string]any)
		delete(group, "Count")
		scaling, _ := group["Scaling"].(map[string]any)
		delete(scaling, "CreateIndex")
		delete(scaling, "ModifyIndex")
	}
	out, err := json.Marshal(fields) // sorts the keys
	if err != nil {
		return "", fmt.Errorf("read a job that Nomad gave: %w", err)
	}
	return fmt.Sprintf("sha256:%x", sha256.Sum256(out)), nil
}

// stored is a version of a job.
type stored struct {
	*header
	raw     []byte
	content string
}

func readStored(raw []byte) (*stored, error) {
	head, err := readHeader(raw)
	if err != nil {
		return nil, err
	}
	digest, err := content(raw)
	return &stored{head, raw, digest}, err
}

// sameCounts reports whether the groups of two versions have the same counts.
func (s *stored) sameCounts(o *stored) bool {
	count := func(g group) int {
		if g.Count == nil {
			return 1
		}
		return *g.Count
	}
	counts := map[string]int{}
	for _, g := range s.TaskGroups {
		counts[g.Name] = count(g)
	}
	for _, g := range o.TaskGroups {
		if n, ok := counts[g.Name]; ok && n != count(g) {
			return false
		}
	}
	return true
}
