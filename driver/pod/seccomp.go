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

// filters caches the seccomp filters that crun compiles from profiles. Compiling is
// most of crun's work to create a container, and its result is always the same.
//
// crun accepts a compiled filter in an annotation (crun(1)), and keeps the filter
// that it compiled with its state, for exec. For runc and older versions of crun
// nothing is cached or the annotation has no effect, and the profile in the spec
// is used. Filters come only from crun, through files that only root can write,
// and are lost when this process exits.
type filters struct {
	runtime ociruntime.Runtime

	mu    sync.Mutex
	known map[[sha256.Size]byte]string // base64 filter by profile hash
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

// key hashes the profile of a spec. It returns false if the filter cannot be cached.
func (f *filters) key(s *specs.Spec) (key [sha256.Size]byte, ok bool) {
	if f.runtime.Name() != "crun" || s.Linux.Seccomp == nil || s.Linux.Seccomp.ListenerPath != "" {
		return key, false
	}
	b, err := json.Marshal(s.Linux.Seccomp)
	return sha256.Sum256(b), err == nil
}

// apply adds the cached filter of its profile to a spec.
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

// learn caches the filter of a created container.
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
