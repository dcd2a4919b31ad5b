package pod

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"path/filepath"
	"sync"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/nomad-sidecar/nomad-sidecar/driver/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/driver/ociruntime"
)

// filters remembers what crun has made of seccomp profiles. To compile one is
// most of what it does to create a container, and always comes to the same.
//
// crun takes a compiled filter by an annotation (crun(1)), and leaves the one
// that it has made with its state, for exec. Of a crun that does neither, and
// of runc, which knows no such thing, nothing is remembered or the annotation
// means nothing: the profile is in the spec as ever. What is remembered comes
// from crun alone, by way of files that only root can write, and is gone with
// this process.
type filters struct {
	runtime ociruntime.Runtime

	mu    sync.Mutex
	known map[[sha256.Size]byte]string // base64 of the filter, by profile
}

const (
	filterAnnotation = "run.oci.seccomp_bpf_data"
	filterFile       = "seccomp.bpf"
	// instructionBytes is the size of struct sock_filter.
	instructionBytes = 8
)

func newFilters(r ociruntime.Runtime) *filters {
	return &filters{runtime: r, known: map[[sha256.Size]byte]string{}}
}

// key names the profile of a spec; false where there is none to remember.
func (f *filters) key(s *specs.Spec) (key [sha256.Size]byte, ok bool) {
	if f.runtime.Name() != "crun" || s.Linux.Seccomp == nil || s.Linux.Seccomp.ListenerPath != "" {
		return key, false
	}
	b, err := json.Marshal(s.Linux.Seccomp)
	return sha256.Sum256(b), err == nil
}

// apply gives a spec the filter of its profile, where that is known.
func (f *filters) apply(s *specs.Spec) {
	key, ok := f.key(s)
	if !ok {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	filter := f.known[key]
	if filter == "" {
		return
	}
	if s.Annotations == nil {
		s.Annotations = map[string]string{}
	}
	s.Annotations[filterAnnotation] = filter
}

// learn remembers the filter of a container that was created.
func (f *filters) learn(s *specs.Spec, id string) {
	key, ok := f.key(s)
	if !ok || s.Annotations[filterAnnotation] != "" {
		return
	}
	b, err := bounds.ReadFile(filepath.Join(f.runtime.StateDir, id, filterFile), maxSpecBytes)
	if err != nil || len(b) == 0 || len(b)%instructionBytes != 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.known[key] = base64.StdEncoding.EncodeToString(b)
}
