package image

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.podman.io/storage"
	"golang.org/x/sys/unix"
)

// Reason is why an image was removed.
type Reason string

// The reasons.
const (
	ReasonUnused Reason = "unused" // for longer than the delay of GC
	ReasonDisk   Reason = "disk"   // the file system of Root was fuller than GCHigh
)

// settle is how long after its last use an image is safe from MakeRoom. It bridges the moment from
// the end of a pull to the Hold of those who waited for it.
const settle = 5 * time.Second

// MakeRoom removes images that no container uses, least recently used first, if the file system of
// Root is fuller than Config.GCHigh, until it is no fuller than GCLow. It returns the ids of the
// removed images, also with an error. The error wraps ErrFull if the file system is still fuller
// than GCLow.
//
// The share is measured again after each image: layers may be shared, and other files may grow.
func (s *Store) MakeRoom(ctx context.Context) (removed []string, err error) {
	if err := s.ready(ctx); err != nil {
		return nil, fmt.Errorf("make room for images: %w", err)
	}
	if over, err := s.fuller(s.cfg.GCHigh); err != nil || !over {
		return nil, err
	}
	return s.reduce(ctx)
}

// reduce removes images until the file system is no fuller than GCLow.
func (s *Store) reduce(ctx context.Context) (removed []string, err error) {
	s.reducing.Lock()
	defer s.reducing.Unlock()
	if s.cfg.GCHigh == 0 {
		return nil, nil
	}
	if err := s.sweep(ctx); err != nil {
		return nil, fmt.Errorf("make room for images: %w", err)
	}
	candidates, err := s.leastRecentlyUsed()
	if err != nil {
		return nil, fmt.Errorf("make room for images: %w", err)
	}
	var problems []error
	for _, img := range candidates {
		if over, err := s.fuller(s.cfg.GCLow); err != nil || !over {
			return removed, errors.Join(append(problems, err)...)
		}
		if err := ctx.Err(); err != nil {
			return removed, errors.Join(append(problems, err)...)
		}
		switch gone, err := s.removeIfIdle(img, settle, ReasonDisk); {
		case err != nil:
			problems = append(problems, err)
		case gone:
			removed = append(removed, img.ID)
		}
	}
	if over, err := s.fuller(s.cfg.GCLow); err != nil || over {
		full := fmt.Errorf("%w: that of %s is fuller than %d %%, and no other unused image can be removed", ErrFull, s.cfg.Root, s.cfg.GCLow)
		problems = append(problems, errors.Join(err, full))
	}
	return removed, errors.Join(problems...)
}

// leastRecentlyUsed returns the images that no container uses, the least recently used first.
func (s *Store) leastRecentlyUsed() ([]storage.Image, error) {
	images, err := s.store.Images()
	if err != nil {
		return nil, err
	}
	containers, err := s.store.Containers()
	if err != nil {
		return nil, err
	}
	inUse := map[string]bool{}
	for _, c := range containers {
		inUse[c.ImageID] = true
	}
	last := map[string]time.Time{}
	images = slices.DeleteFunc(images, func(img storage.Image) bool {
		if info, err := os.Stat(s.usedPath(img.ID)); err == nil {
			last[img.ID] = info.ModTime()
		} else {
			last[img.ID] = time.Now() // removeIfIdle records it
		}
		return img.ReadOnly || inUse[img.ID]
	})
	slices.SortStableFunc(images, func(a, b storage.Image) int { return last[a.ID].Compare(last[b.ID]) })
	return images, nil
}

// fuller reports whether more than a share of the bytes or of the inodes of Root's file system is
// used, as df(1) shows it. 0 for high means no limit.
func (s *Store) fuller(percent int) (bool, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(s.cfg.Root, &fs); err != nil {
		return false, fmt.Errorf("file system of %s: %w", s.cfg.Root, err)
	}
	const whole = 100
	more := func(used, free uint64) bool { return used*whole > uint64(percent)*(used+free) }
	return s.cfg.GCHigh > 0 && (more(fs.Blocks-fs.Bfree, fs.Bavail) || more(fs.Files-fs.Ffree, fs.Ffree)), nil
}

// Usage is the size of a store.
type Usage struct {
	ImageBytes               int64  // unpacked size of the layers of all images
	DiskBytes, DiskFreeBytes uint64 // of the file system of Root, for users other than root
}

// Usage measures the store. It may wait for a pull.
func (s *Store) Usage(ctx context.Context) (u Usage, err error) {
	if err := s.ready(ctx); err != nil {
		return u, fmt.Errorf("size of the image store: %w", err)
	}
	layers, err := s.store.Layers()
	if err != nil {
		return u, fmt.Errorf("size of the image store: %w", err)
	}
	for _, layer := range layers {
		if layer.ReadOnly {
			continue
		}
		u.ImageBytes += max(layer.UncompressedSize, 0) // a container's layer has none
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(s.cfg.Root, &fs); err != nil {
		return u, fmt.Errorf("file system of %s: %w", s.cfg.Root, err)
	}
	block := uint64(fs.Bsize)
	u.DiskBytes, u.DiskFreeBytes = (fs.Blocks-fs.Bfree+fs.Bavail)*block, fs.Bavail*block
	return u, nil
}

// Hold keeps GC and MakeRoom from removing an image until release is called, for the time from
// Ensure to Mount.
func (s *Store) Hold(imageID string) (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[imageID]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.held[imageID]--; s.held[imageID] == 0 {
			delete(s.held, imageID)
		}
	}
}

// Reserve keeps GC, but not MakeRoom, from removing an image for a time. Another process does not
// know of it.
func (s *Store) Reserve(imageID string, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(s.reserved, func(_ string, until time.Time) bool { return now.After(until) })
	s.reserved[imageID] = now.Add(d)
}

func (s *Store) isReserved(imageID string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Before(s.reserved[imageID])
}

// kept reports whether an image must stay for now: a start holds it, or Config.Keep names it.
func (s *Store) kept(img storage.Image) bool {
	s.mu.Lock()
	held := s.held[img.ID] > 0
	s.mu.Unlock()
	return held || slices.ContainsFunc(img.Names, s.cfg.keeps)
}

// keeps reports whether Keep names an image, with or without its tag or digest.
func (c Config) keeps(name string) bool {
	repository := repositoryOf(name)
	return slices.ContainsFunc(c.Keep, func(pattern string) bool {
		pattern = completed(pattern)
		whole, _ := path.Match(pattern, name)
		part, _ := path.Match(pattern, repository)
		return whole || part
	})
}

// repositoryOf returns the name of an image without its tag or digest.
func repositoryOf(name string) string {
	name, _, _ = strings.Cut(name, "@")
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		return name[:i]
	}
	return name
}

// keepPattern matches the allowed characters of a pattern in Keep.
var keepPattern = regexp.MustCompile(`^[a-z0-9*?\[][A-Za-z0-9._:/@*?^\[\]-]*$`)

// CheckKeep returns an error if pattern cannot name an image of a registry.
func CheckKeep(pattern string) error {
	_, err := path.Match(pattern, "")
	transport, _, _ := strings.Cut(pattern, ":")
	located := slices.Contains([]string{transportOCI, transportOCIArchive, transportDockerArchive}, transport)
	if err != nil || located || strings.Contains(pattern, "//") || !keepPattern.MatchString(pattern) {
		return fmt.Errorf("%w: %q is not a pattern of names of images in a registry: want \"registry.example/team/*\" or \"docker.io/library/nginx:1.*\"", ErrInvalidConfig, pattern)
	}
	return nil
}

// completed completes the registry of a pattern, as ParseReference completes a name.
func completed(pattern string) string {
	const hub, official = "docker.io/", "library/"
	first, _, ok := strings.Cut(pattern, "/")
	switch {
	case !ok && strings.HasPrefix(first, "*"):
		return pattern
	case !ok:
		return hub + official + pattern
	case first == "localhost" || strings.ContainsAny(first, ".:*?["):
		return pattern
	}
	return hub + pattern
}
