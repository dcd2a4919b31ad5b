package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.podman.io/storage"
	"golang.org/x/sys/unix"
)

// GC removes the images that no container uses, that Ensure has not returned for the duration keep
// and that Config.Keep does not name, then leftovers of crashes and failed pulls. It returns the ids
// of the removed images, also with an error. If keep is shorter than the time from Ensure to Mount,
// Mount may find its image gone unless a Hold keeps it.
func (s *Store) GC(ctx context.Context, keep time.Duration) (removed []string, err error) {
	if err := s.ready(ctx); err != nil {
		return nil, fmt.Errorf("collect images: %w", err)
	}
	images, err := s.store.Images()
	if err != nil {
		return nil, fmt.Errorf("collect images: %w", err)
	}
	var problems []error
	for _, img := range images {
		if err := ctx.Err(); err != nil {
			return removed, errors.Join(append(problems, err)...)
		}
		switch gone, err := s.removeIfIdle(img, keep, ReasonUnused); {
		case err != nil:
			problems = append(problems, err)
		case gone:
			removed = append(removed, img.ID)
		}
	}
	if err := s.sweep(ctx); err != nil {
		problems = append(problems, err)
	}
	return removed, errors.Join(problems...)
}

// RemoveUnused removes an image regardless of its last use. It returns ErrInUse if a container
// uses the image and ErrNotFound if there is no such image.
func (s *Store) RemoveUnused(ctx context.Context, imageID string) error {
	if err := s.ready(ctx); err != nil {
		return fmt.Errorf("remove image %s: %w", imageID, err)
	}
	s.uses.Lock()
	defer s.uses.Unlock()
	return s.remove(imageID)
}

// removeIfIdle removes an image that no container has used for the duration keep.
func (s *Store) removeIfIdle(img storage.Image, keep time.Duration, why Reason) (gone bool, err error) {
	s.uses.Lock()
	defer s.uses.Unlock()
	if img.ReadOnly || s.kept(img) || why == ReasonUnused && s.isReserved(img.ID) {
		return false, nil
	}
	imageID := img.ID
	info, err := os.Stat(s.usedPath(imageID))
	if errors.Is(err, fs.ErrNotExist) {
		return false, s.markUsed(imageID) // just pulled, or pulled by a process that died
	}
	if err != nil {
		return false, fmt.Errorf("last use of image %s: %w", imageID, err)
	}
	switch age := time.Since(info.ModTime()); {
	case age < 0:
		return false, s.markUsed(imageID) // the clock was set back; the image might otherwise stay for years
	case age < keep:
		return false, nil
	}
	switch err := s.remove(imageID); {
	case errors.Is(err, ErrInUse), errors.Is(err, ErrNotFound):
		return false, nil
	case err != nil:
		return false, err
	}
	if s.cfg.Removed != nil {
		s.cfg.Removed(imageID, why)
	}
	return true, nil
}

// remove deletes the image. The caller must hold s.uses.
func (s *Store) remove(imageID string) error {
	err := s.before("delete image")
	if err == nil {
		_, err = s.store.DeleteImage(imageID, true)
	}
	if errors.Is(err, storage.ErrLayerUnknown) && !s.owns(imageID) {
		err = nil // it is removed, but the library expected a layer that an additional store has
	}
	switch {
	case errors.Is(err, storage.ErrImageUsedByContainer):
		return fmt.Errorf("%w: remove image %s: %w; stop its tasks first", ErrInUse, imageID, err)
	case errors.Is(err, storage.ErrImageUnknown), errors.Is(err, storage.ErrNotAnImage):
		return fmt.Errorf("%w: remove image %s: %w", ErrNotFound, imageID, err)
	case err != nil:
		return fmt.Errorf("remove image %s: %w", imageID, err)
	}
	if err := s.before("forget use of image"); err != nil {
		return fmt.Errorf("remove image %s: %w", imageID, err)
	}
	if err := os.Remove(s.usedPath(imageID)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove image %s: %w", imageID, err)
	}
	return nil
}

// owns reports whether the store itself has an image.
func (s *Store) owns(imageID string) bool {
	images, err := s.store.Images()
	return err != nil || slices.ContainsFunc(images, func(img storage.Image) bool { return !img.ReadOnly && img.ID == imageID })
}

func (s *Store) usedPath(imageID string) string {
	return filepath.Join(s.cfg.Root, "used", imageID)
}

// markUsed records that the image is used now. The caller must hold s.uses.
func (s *Store) markUsed(imageID string) error {
	path, now := s.usedPath(imageID), time.Now()
	err := s.before("note use of image")
	if err == nil {
		err = os.Chtimes(path, now, now)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = os.WriteFile(path, nil, 0o600)
	}
	if err != nil {
		return fmt.Errorf("record use of image %s: %w", imageID, err)
	}
	return nil
}

// orphanWait limits how long a sweep waits for the processes of a killed pull.
const orphanWait = 2 * time.Second

// sweepAfterKill sweeps once the processes of a killed pull, of this or an earlier process, are
// gone. If other pulls are running, the next collection sweeps instead.
func (s *Store) sweepAfterKill(ctx context.Context) error {
	for end := time.Now().Add(orphanWait); time.Now().Before(end) && ctx.Err() == nil; {
		done, err := s.exclusiveLock()
		if err == nil {
			done()
			break
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return err
		}
		time.Sleep(lockRetry)
	}
	return s.sweep(ctx)
}

// sweep deletes temporary files, layers of aborted pulls, stale mounts and directories without
// a record. While any process holds the create lock, sweep does nothing; the next sweep will.
func (s *Store) sweep(ctx context.Context) error {
	done, err := s.exclusiveLock()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil
	}
	if err != nil {
		return err
	}
	defer done()
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.before("sweep image store"); err != nil {
		return err
	}
	if err := s.sweepLayers(); err != nil {
		return err
	}
	// Records are in RunRoot, so a reboot leaves the layers' directories without records.
	if err := s.store.GarbageCollect(); err != nil {
		return fmt.Errorf("collect storage: %w", err)
	}
	if err := s.sweepDir("tmp", func(string) bool { return false }); err != nil {
		return err
	}
	return s.sweepDir("used", s.store.Exists)
}

// sweepLayers deletes the layers that no image or container needs.
func (s *Store) sweepLayers() error {
	layers, err := s.store.Layers()
	if err != nil {
		return fmt.Errorf("list layers: %w", err)
	}
	images, err := s.store.Images()
	if err != nil {
		return fmt.Errorf("list images: %w", err)
	}
	containers, err := s.store.Containers()
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	parents := make(map[string]string, len(layers))
	for _, layer := range layers {
		parents[layer.ID] = layer.Parent
	}
	needed := make(map[string]bool, len(layers))
	need := func(id string) {
		for ; id != "" && !needed[id]; id = parents[id] {
			needed[id] = true
		}
	}
	for _, img := range images {
		need(img.TopLayer)
		for _, id := range img.MappedTopLayers {
			need(id)
		}
	}
	for _, c := range containers {
		need(c.LayerID)
	}
	return s.deleteLayers(layers, needed)
}

// deleteLayers deletes all layers except the needed ones, children before parents.
func (s *Store) deleteLayers(layers []storage.Layer, needed map[string]bool) error {
	children := make(map[string]int, len(layers))
	for _, layer := range layers {
		children[layer.Parent]++
	}
	for deleted := true; deleted; {
		deleted = false
		for _, layer := range layers {
			if layer.ReadOnly || needed[layer.ID] || children[layer.ID] > 0 {
				continue
			}
			if err := s.releaseLayer(layer.ID); err != nil {
				return fmt.Errorf("delete leftover layer %s: %w", layer.ID, err)
			}
			needed[layer.ID] = true // already handled
			children[layer.Parent]--
			deleted = true
		}
	}
	return nil
}

func (s *Store) sweepDir(name string, keep func(entry string) bool) error {
	dir := filepath.Join(s.cfg.Root, name)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	for _, entry := range entries {
		if keep(entry.Name()) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, entry.Name())); err != nil {
			return fmt.Errorf("sweep: %w", err)
		}
	}
	return nil
}
