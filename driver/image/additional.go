package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/storage"
	"golang.org/x/sys/unix"
)

// Additional stores are stores of other programs that are only read. The library opens their lock
// files again and again, panics if one is gone, and removes a directory of an additional store if
// its own layer of the same id has none. So each is used through a read-only bind mount in RunRoot,
// which stays when the path is replaced or unmounted.

// additionalDir is the directory of the mounts in RunRoot.
const additionalDir = "additional"

// CheckStore returns an error, which says how to fix it, unless dir has a store of
// containers/storage that can be used without writing to it. It does not check who owns the parent
// directories.
func CheckStore(dir string) error {
	if !filepath.IsAbs(dir) || strings.Contains(dir, ",") {
		return fmt.Errorf("%w: additional store %q must be an absolute path without a comma", ErrInvalidConfig, dir)
	}
	if err := checkStore(dir); err != nil {
		return fmt.Errorf("%w: additional store %s: %w", ErrInvalidConfig, dir, err)
	}
	return nil
}

func checkStore(dir string) error {
	images, layers := filepath.Join(dir, driverName+"-images"), filepath.Join(dir, driverName+"-layers")
	for _, d := range []string{dir, filepath.Join(dir, driverName), images, layers} {
		info, err := os.Stat(d)
		switch {
		case d != dir && errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("it has no directory %s; want a store of the driver overlay, such as \"podman --root %s --storage-driver overlay pull IMAGE\" makes", filepath.Base(d), dir)
		case err != nil:
			return err
		case !info.IsDir():
			return fmt.Errorf("%s is not a directory", d)
		}
		if err := onlyRootWrites(d, info); err != nil {
			return err
		}
	}
	for _, file := range []string{filepath.Join(images, "images"), filepath.Join(layers, "layers")} {
		if err := checkLock(file + ".lock"); err != nil {
			return err
		}
	}
	var list []struct{ ID, Layer string }
	if err := readList(filepath.Join(images, "images.json"), &list); err != nil {
		return err
	}
	var have []struct{ ID, Parent string }
	if err := readList(filepath.Join(layers, "layers.json"), &have); err != nil {
		return err
	}
	known := map[string]bool{}
	for _, l := range have {
		known[l.ID] = true
		if err := checkLayer(filepath.Join(dir, driverName, filepath.Base(l.ID), "diff")); err != nil {
			return err
		}
	}
	for _, img := range list {
		if img.Layer != "" && !known[img.Layer] {
			return fmt.Errorf("image %s needs layer %s, which the store does not have; copy the complete store", img.ID, img.Layer)
		}
	}
	return nil
}

// onlyRootWrites checks that no other user can change a file.
func onlyRootWrites(path string, info os.FileInfo) error {
	const othersWrite = 0o022
	if uid := info.Sys().(*syscall.Stat_t).Uid; uid != 0 {
		return fmt.Errorf("%s belongs to user %d, who can change the images; run \"chown root %s\", or make the store as root", path, uid, path)
	}
	if info.Mode().Perm()&othersWrite != 0 {
		return fmt.Errorf("users other than root can write to %s, which has mode %04o; run \"chmod go-w %s\"", path, info.Mode().Perm(), path)
	}
	return nil
}

// checkLock checks that a lock file exists and can be locked. The library would create a missing
// one, and would fail, or ignore the images, on a read-only file system.
func checkLock(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the lock file %s is missing; create an empty file there when the store is made: \"touch %s\"", path, path)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	lock := unix.Flock_t{Type: unix.F_RDLCK, Whence: io.SeekStart}
	if err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lock); err != nil {
		return fmt.Errorf("%s cannot be locked: %w; mount a network file system with locks or with \"nolock\"", path, err)
	}
	return nil
}

// maxListBytes limits the size of a list of images or layers.
const maxListBytes = 256 << 20

func readList(path string, to any) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := onlyRootWrites(path, info); err != nil {
		return err
	}
	if err := json.NewDecoder(io.LimitReader(f, maxListBytes)).Decode(to); err != nil {
		return fmt.Errorf("%s is damaged: %w", path, err)
	}
	return nil
}

// checkLayer checks that the files of a layer are as a native overlay needs them.
func checkLayer(diff string) error {
	info, err := os.Stat(diff)
	if err != nil {
		return fmt.Errorf("a layer has no files: %w; copy the complete store", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a directory", diff)
	}
	if n, err := unix.Getxattr(diff, "user.containers.override_stat", nil); err == nil && n > 0 {
		return fmt.Errorf("the layer %s was stored with force_mask, so its owners and permissions are only in attributes; make the store without force_mask", filepath.Dir(diff))
	}
	return nil
}

// additionalAt returns the path through which additional store number n is used.
func (c Config) additionalAt(n int) string {
	return filepath.Join(c.RunRoot, additionalDir, strconv.Itoa(n))
}

// checkAdditional checks the additional stores.
func (c Config) checkAdditional() error {
	for i, dir := range c.AdditionalStores {
		if err := CheckStore(dir); err != nil {
			return err
		}
		own, err := filepath.Rel(c.Root, dir)
		if err == nil && !strings.HasPrefix(own, "..") || slices.Contains(c.AdditionalStores[:i], dir) {
			return fmt.Errorf("%w: additional store %s is this store, or is named twice", ErrInvalidConfig, dir)
		}
	}
	return nil
}

// mountAdditional mounts the additional stores. A mount of a killed process is used again.
func (c Config) mountAdditional() error {
	for i, dir := range c.AdditionalStores {
		at := c.additionalAt(i)
		if err := os.MkdirAll(at, 0o700); err != nil {
			return err
		}
		if readOnly(at) && sameFile(dir, at) {
			continue
		}
		unmountAll(at)
		if err := unix.Mount(dir, at, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount additional store %s at %s: %w", dir, at, err)
		}
		err := unix.Mount("", at, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|lockedFlags(at), "")
		if err != nil {
			unmountAll(at)
			return fmt.Errorf("mount additional store %s read-only: %w", dir, err)
		}
	}
	return c.unmountAdditional(len(c.AdditionalStores))
}

// lockedFlags returns the flags of a mount, which a remount must repeat.
func lockedFlags(at string) (flags uintptr) {
	var fs unix.Statfs_t
	if unix.Statfs(at, &fs) != nil {
		return 0
	}
	for st, ms := range map[int64]uintptr{
		unix.ST_NODEV: unix.MS_NODEV, unix.ST_NOSUID: unix.MS_NOSUID, unix.ST_NOEXEC: unix.MS_NOEXEC,
		unix.ST_NOATIME: unix.MS_NOATIME, unix.ST_NODIRATIME: unix.MS_NODIRATIME, unix.ST_RELATIME: unix.MS_RELATIME,
	} {
		if fs.Flags&st != 0 {
			flags |= ms
		}
	}
	return flags
}

func readOnly(at string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(at, &fs) == nil && fs.Flags&unix.ST_RDONLY != 0
}

func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// unmountAdditional unmounts the additional stores from number n on. Running containers keep what
// they use.
func (c Config) unmountAdditional(n int) error {
	entries, err := os.ReadDir(filepath.Join(c.RunRoot, additionalDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if number, err := strconv.Atoi(e.Name()); err == nil && number >= n {
			unmountAll(c.additionalAt(number))
			_ = os.Remove(c.additionalAt(number))
		}
	}
	return nil
}

// unmountAll removes all mounts at a path.
func unmountAll(at string) {
	for unix.Unmount(at, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) == nil {
	}
}

// digested returns the image of an additional store that has the digest and repository of a
// reference. Its name there may have a tag instead.
func (s *Store) digested(ref Reference) (*storage.Image, error) {
	named, err := reference.ParseNormalizedNamed(ref.name)
	if err != nil || len(s.cfg.AdditionalStores) == 0 {
		return nil, errNotStored
	}
	canonical, ok := named.(reference.Canonical)
	if !ok {
		return nil, errNotStored
	}
	images, err := s.store.ImagesByDigest(digest.Digest(canonical.Digest()))
	if err != nil {
		return nil, err
	}
	for _, img := range images {
		if img.ReadOnly && slices.ContainsFunc(img.Names, func(name string) bool { return repositoryOf(name) == named.Name() }) {
			return img, nil
		}
	}
	return nil, errNotStored
}

// isAdditional reports whether an additional store has an image, so that every job may use it.
func (s *Store) isAdditional(imageID string) (bool, error) {
	if len(s.cfg.AdditionalStores) == 0 {
		return false, nil
	}
	images, err := s.store.Images()
	return slices.ContainsFunc(images, func(img storage.Image) bool { return img.ReadOnly && img.ID == imageID }), err
}

// removeBroken removes the images that need a layer of an additional store that is no longer
// configured. They are pulled again when they are needed.
func (s *Store) removeBroken() error {
	layers, err := s.store.Layers()
	if err != nil {
		return fmt.Errorf("list layers: %w", err)
	}
	parents := make(map[string]string, len(layers))
	for _, layer := range layers {
		parents[layer.ID] = layer.Parent
	}
	images, err := s.store.Images()
	if err != nil {
		return fmt.Errorf("list images: %w", err)
	}
	for _, img := range images {
		for id := img.TopLayer; id != "" && !img.ReadOnly; id = parents[id] {
			if _, ok := parents[id]; ok {
				continue
			}
			if err := s.remove(img.ID); err != nil && !errors.Is(err, ErrInUse) {
				return err
			}
			break
		}
	}
	return nil
}
