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

// A watch detects changed files by polling their metadata, which also works on file systems
// without change notifications, such as network mounts. It does not read the files. It reports a
// change after two polls with the same result.
type watch struct {
	paths            []string // files and folders
	loaded, lastSeen string
}

func newWatch(paths []string) *watch {
	now := look(paths)
	return &watch{paths: paths, loaded: now, lastSeen: now}
}

// changed reports each change once, when it is complete.
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

// look returns a string that changes whenever a file below the paths does.
func look(paths []string) string {
	sum := sha256.New()
	for _, path := range paths {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			path = real
		}
		// load reports unreadable files.
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

// files returns the files that load reads.
func (s *Server) files() []string {
	paths := s.Files()
	for _, file := range []string{s.CertFile, s.KeyFile} {
		if file != "" {
			paths = append(paths, file)
		}
	}
	return paths
}
