package fleet

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// ownerMeta is a key of a job's meta that names the tool that registers it.
const ownerMeta = "managed_by"

// header holds fields of a stored job other than its sidecars.
type header struct {
	ID, Namespace, Type, Status string
	Stop                        bool
	Version, JobModifyIndex     uint64
	Meta                        map[string]string
	TaskGroups                  []group
}

// group holds fields of a stored group.
type group struct {
	Name  string
	Count *int
	Tasks []struct {
		Name string
		Meta map[string]string
	}
}

func readHeader(raw []byte) (*header, error) {
	h := &header{}
	if err := json.Unmarshal(raw, h); err != nil {
		return nil, fmt.Errorf("read a job that Nomad gave: %w", err)
	}
	return h, nil
}

func (h *header) job() *Job {
	return &Job{
		Namespace: h.Namespace, ID: h.ID, Type: h.Type, Activity: h.activity(), Version: h.Version,
		ModifyIndex: h.JobModifyIndex, Owner: h.owner(), Groups: []*Group{},
	}
}

func (h *header) activity() string {
	counts := func(g group) bool { return g.Count == nil || *g.Count > 0 }
	switch {
	case h.Stop:
		return Stopped
	case h.Status == Dead && h.Type != "service": // a service without allocations is dead for Nomad
		return Dead
	case h.Type != "system" && h.Type != "sysbatch" && !slices.ContainsFunc(h.TaskGroups, counts):
		return ScaledOff
	case h.Status == Dead:
		return Dead
	case h.Status == Running:
		return Running
	}
	return Pending
}

// owner recognises nomad-pack by its meta, and any tool that sets ownerMeta. Terraform's
// provider leaves no trace.
func (h *header) owner() string {
	for key := range h.Meta {
		if strings.HasPrefix(key, "pack.") {
			return "nomad-pack"
		}
	}
	return h.Meta[ownerMeta]
}
