package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"go.podman.io/storage"
	"go.podman.io/storage/pkg/idtools"
	"golang.org/x/sys/unix"
)

// storageID returns the store's name for a container and its layer: 64 hex digits derived from
// the caller's id, which may contain any character. The name finds either of the two if a crash
// left only one.
func storageID(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:])
}

// Mount creates a writable layer for container id over img, mounts both and returns the path of
// the root file system. Another call with the same id returns the same path with the container's
// changes. Another image needs a Release first. Mount returns ErrNotFound if the image is gone.
func (s *Store) Mount(ctx context.Context, id string, img Image) (rootfs string, err error) {
	return s.MountMapped(ctx, id, img, IDs{})
}

// IDs maps the ids 0 to Count-1 of an image to ids of the host from First on. The zero value maps
// none.
type IDs struct{ First, Count uint32 }

// MountMapped is Mount for a container in a user namespace with the given ids, of which the root
// file system's files are. The image's own files do not change: they are mounted through id-mapped
// mounts. It returns ErrNoIDMap if the kernel or the file system does not support these.
func (s *Store) MountMapped(ctx context.Context, id string, img Image, ids IDs) (rootfs string, err error) {
	if err := s.ready(ctx); err != nil {
		return "", fmt.Errorf("mount root of container %q: %w", id, err)
	}
	if id == "" || img.ID == "" {
		return "", fmt.Errorf("%w: mount needs a container id and an image, got %q and %q", ErrInvalidConfig, id, img.ID)
	}
	container, err := s.completeContainer(id)
	created := errors.Is(err, storage.ErrContainerUnknown)
	if created {
		container, err = s.create(ctx, id, img, ids)
	}
	if err != nil {
		return "", fmt.Errorf("mount root of container %q: %w", id, err)
	}
	if container.ImageID != img.ID {
		return "", fmt.Errorf("%w: mount root of container %q: it was created from image %s, not %s; release it first",
			ErrInUse, id, container.ImageID, img.ID)
	}
	if err = s.before("mount layer"); err == nil {
		rootfs, err = s.store.Mount(container.ID, "")
	}
	if err == nil && created {
		err = s.inheritRoot(container.LayerID, rootfs, ids)
	}
	if ids.Count != 0 && errors.Is(err, unix.EINVAL) { // a layer of an additional store
		err = fmt.Errorf("%w: %w", ErrNoIDMap, err)
	}
	if err != nil {
		return "", fmt.Errorf("mount root of container %q: %w", id, err)
	}
	return rootfs, nil
}

// inheritRoot gives the root directory of a new container the mode and owner that the image's
// layers give it.
func (s *Store) inheritRoot(layerID, rootfs string, ids IDs) error {
	layer, err := s.store.Layer(layerID)
	if err != nil {
		return err
	}
	if layer.Parent == "" {
		return os.Chmod(rootfs, rootPerm)
	}
	return copyRoot(layerStore{s.store, s.cfg}.diffDir(layer.Parent), rootfs, ids)
}

// completeContainer returns a container that has its layer. A process killed while deleting a container
// leaves a record without a layer; completeContainer deletes it.
func (s *Store) completeContainer(id string) (*storage.Container, error) {
	container, err := s.store.Container(storageID(id))
	if err != nil {
		return nil, err
	}
	if _, err = s.store.Layer(container.LayerID); !errors.Is(err, storage.ErrLayerUnknown) {
		return container, err
	}
	if err := s.store.DeleteContainer(container.ID); err != nil {
		return nil, fmt.Errorf("delete leftover container: %w", err)
	}
	return nil, storage.ErrContainerUnknown
}

func (s *Store) create(ctx context.Context, id string, img Image, ids IDs) (*storage.Container, error) {
	options, err := s.containerOptions(ids)
	if err != nil {
		return nil, err
	}
	done, err := s.sharedLock(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	s.uses.RLock()
	defer s.uses.RUnlock()

	key := storageID(id)
	make := func() (*storage.Container, error) {
		if err := s.before("make layer"); err != nil {
			return nil, err
		}
		return s.store.CreateContainer(key, nil, img.ID, key, id, options)
	}
	container, err := make()
	if errors.Is(err, storage.ErrDuplicateID) {
		// Another call created it first, or a crash left only the layer.
		if found, ferr := s.store.Container(key); ferr == nil {
			return found, nil
		}
		if err := s.releaseLayer(key); err != nil {
			return nil, err
		}
		container, err = make()
	}
	if errors.Is(err, storage.ErrImageUnknown) {
		return nil, fmt.Errorf("%w: image %s was removed from the store; pull it again: %w", ErrNotFound, img.ID, err)
	}
	if err != nil {
		return nil, fmt.Errorf("create layer: %w", err)
	}
	return container, nil
}

func (s *Store) containerOptions(ids IDs) (*storage.ContainerOptions, error) {
	options := &storage.ContainerOptions{Volatile: true}
	if ids.Count == 0 {
		return options, nil
	}
	driver, err := s.store.GraphDriver()
	if err != nil {
		return nil, err
	}
	mapping := []idtools.IDMap{{HostID: int(ids.First), Size: int(ids.Count)}}
	if !driver.SupportsShifting(mapping, mapping) { // the library would copy the image
		return nil, fmt.Errorf("%w: %s", ErrNoIDMap, s.cfg.Root)
	}
	options.IDMappingOptions = storage.IDMappingOptions{UIDMap: mapping, GIDMap: mapping}
	return options, nil
}

// Release unmounts the container's root file system and deletes its layer. It returns nil if
// there is nothing to release, so it may be repeated.
func (s *Store) Release(ctx context.Context, id string) error {
	if err := s.ready(ctx); err != nil {
		return fmt.Errorf("release container %q: %w", id, err)
	}
	key := storageID(id)
	container, err := s.store.Container(key)
	if errors.Is(err, storage.ErrContainerUnknown) {
		err = s.releaseLayer(key)
		if err != nil {
			return fmt.Errorf("release container %q: %w", id, err)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("release container %q: %w", id, err)
	}
	if err := s.unmount(key); err != nil {
		return fmt.Errorf("release container %q: %w", id, err)
	}
	if err = s.before("delete layer"); err == nil {
		err = s.store.DeleteContainer(key)
	}
	if err != nil && !errors.Is(err, storage.ErrNotAContainer) {
		return fmt.Errorf("delete layer of container %q: %w", id, err)
	}
	s.uses.RLock()
	defer s.uses.RUnlock()
	return s.markUsed(container.ImageID)
}

// releaseLayer deletes a layer that belongs to no container, if it exists.
func (s *Store) releaseLayer(key string) error {
	if err := s.unmount(key); err != nil {
		return err
	}
	err := s.before("delete layer alone")
	if err == nil {
		err = s.store.DeleteLayer(key)
	}
	if err != nil && !errors.Is(err, storage.ErrLayerUnknown) && !errors.Is(err, storage.ErrNotALayer) {
		return fmt.Errorf("delete layer: %w", err)
	}
	return nil
}

// unmount unmounts a layer, even if it was mounted several times.
func (s *Store) unmount(key string) error {
	err := s.before("unmount layer")
	if err == nil {
		_, err = s.store.Unmount(key, true)
	}
	if err != nil && !errors.Is(err, storage.ErrLayerUnknown) && !errors.Is(err, storage.ErrLayerNotMounted) {
		return fmt.Errorf("unmount: %w", err)
	}
	return nil
}

// Containers returns the ids that have a layer, mounted or not. Cleanup after a crash uses it.
func (s *Store) Containers(ctx context.Context) ([]string, error) {
	if err := s.ready(ctx); err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	containers, err := s.store.Containers()
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	var ids []string
	for _, c := range containers {
		if storageID(c.Metadata) == c.ID { // skip containers of other programs
			ids = append(ids, c.Metadata)
		}
	}
	return ids, nil
}
