package serve

import (
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// A watch notices that files have changed, by looking at them from time to time: that
// also works where no file system tells of changes, such as over a network. It reads
// none. Where a change is under way, it waits until two looks see the same.
type watch struct {
	paths            []string // files and folders
	loaded, lastSeen string
}

func newWatch(paths []string) *watch {
	now := look(paths)
	return &watch{paths: paths, loaded: now, lastSeen: now}
}

// changed says once of each change that it has come to rest.
func (w *watch) changed() bool {
	now := look(w.paths)
	calm := now == w.lastSeen
	w.lastSeen = now
	if !calm || now == w.loaded {
		return false
	}
	w.loaded = now
	return true
}

// look is a text that is another one when a file below the paths is.
func look(paths []string) string {
	sum := sha256.New()
	for _, path := range paths {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			path = real
		}
		// What cannot be looked at is told when it is loaded.
		_ = filepath.WalkDir(path, func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return nil
			}
			if entry.IsDir() && strings.HasPrefix(entry.Name(), ".git") {
				return fs.SkipDir
			}
			note(sum, path)
			return nil
		})
	}
	return string(sum.Sum(nil))
}

func note(to io.Writer, path string) {
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		fmt.Fprintf(to, "%s\x00%d\x00%d\x00", path, info.Size(), info.ModTime().UnixNano())
	}
}

// files lists what load reads.
func (s *Server) files() []string {
	paths := s.Files()
	for _, file := range []string{s.CertFile, s.KeyFile} {
		if file != "" {
			paths = append(paths, file)
		}
	}
	return paths
}
