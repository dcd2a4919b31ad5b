package logs

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/nomad-sidecar/nomad-sidecar/driver/bounds"
)

// SpecFile is the name of the file, next to a task's FIFOs, that describes where their
// content is stored.
const SpecFile = "logs.json"

// specVersion is the version of SpecFile. Readers refuse newer versions.
const specVersion = 1

// Spec describes where the output of a task is stored.
type Spec struct {
	Version int `json:"version"`
	// AllocDir is trusted. Tasks may be able to write to Dir, below it, so no symbolic
	// link is followed there.
	AllocDir string   `json:"alloc_dir"`
	Dir      string   `json:"dir"` // relative
	MaxFiles int      `json:"max_files"`
	MaxBytes int64    `json:"max_bytes"` // of a file
	Streams  []Stream `json:"streams"`
	// Index is nil without an index. Collectors that do not know it ignore it.
	Index *Index `json:"index,omitempty"`
}

// Stream is one FIFO and the base name of its files.
type Stream struct {
	FIFO string `json:"fifo"` // beside the SpecFile
	Base string `json:"base"` // "web.stdout" is for web.stdout.0, web.stdout.1, …
}

// WriteSpec writes the SpecFile to dir.
func WriteSpec(dir string, s Spec) error {
	s.Version = specVersion
	if err := s.check(); err != nil {
		return err
	}
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	temporary := filepath.Join(dir, "."+SpecFile)
	if err := os.WriteFile(temporary, b, 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, filepath.Join(dir, SpecFile))
}

// maxSpecBytes bounds a SpecFile, which contains paths, names and the content of a MetaFile.
const maxSpecBytes = 64<<10 + maxMetaBytes

func readSpec(file string) (Spec, error) {
	b, err := bounds.ReadFile(file, maxSpecBytes)
	if err != nil {
		return Spec{}, err
	}
	var s Spec
	if err := json.Unmarshal(b, &s); err != nil {
		return Spec{}, fmt.Errorf("%s: %w", file, err)
	}
	if s.Version < 1 || s.Version > specVersion {
		return Spec{}, fmt.Errorf("%s: unsupported version %d; the highest supported version is %d", file, s.Version, specVersion)
	}
	return s, s.check()
}

func (s Spec) check() error {
	if !filepath.IsAbs(s.AllocDir) || !filepath.IsLocal(s.Dir) {
		return fmt.Errorf("logs: directory %q below %q: want a relative path below an absolute one", s.Dir, s.AllocDir)
	}
	if s.MaxFiles < 1 || s.MaxBytes < 1 {
		return errors.New("logs: want at least one file of at least one byte")
	}
	for _, st := range s.Streams {
		if st.FIFO != filepath.Base(st.FIFO) || st.Base != filepath.Base(st.Base) {
			return fmt.Errorf("logs: %q and %q: want names without a directory", st.FIFO, st.Base)
		}
	}
	return s.Index.check()
}
