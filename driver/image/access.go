package image

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	cimage "go.podman.io/image/v5/image"
	"go.podman.io/image/v5/pkg/docker/config"
	"go.podman.io/storage"
)

// The store keeps a list of accesses with each image: keyed hashes of the repository and
// credentials that fetched it. A caller may use the stored image only if its access is listed.
// Without the store's key a hash reveals nothing, and with the key only a guess can be checked.

const (
	accessData = "pod-access" // name of the "big data" item of a stored image: a list of hashes
	maxAccess  = 1000         // above it the oldest are dropped, and their credentials are checked again

	accessKeyBytes = 32
)

// errOtherAccess reports that the stored image was fetched with other credentials. It never
// leaves the package.
var errOtherAccess = errors.New("fetched with other credentials")

// readAccessKey returns the key for hashing credentials, and creates it on first use.
func readAccessKey(root string) ([]byte, error) {
	path := filepath.Join(root, "access.key")
	key, err := os.ReadFile(path)
	if err == nil && len(key) == accessKeyBytes || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	f, err := os.CreateTemp(root, ".access.key-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	key = make([]byte, accessKeyBytes)
	_, _ = rand.Read(key) // never fails
	_, err = f.Write(key)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return os.ReadFile(path) // another process created it first
}

func (s *Store) hash(parts ...string) string {
	sum := hmac.New(sha256.New, s.accessKey)
	_ = json.NewEncoder(sum).Encode(parts) // Encode separates the parts, so their boundaries are hashed too
	return hex.EncodeToString(sum.Sum(nil))
}

// access returns the hash of the credentials that a pull would use. No credentials hash to a
// value of their own.
func (s *Store) access(key flightKey) (string, error) {
	if key.ref.path != "" {
		return s.hash("path", key.ref.path), nil
	}
	named, err := reference.ParseNormalizedNamed(key.ref.name)
	if err != nil {
		return "", err
	}
	auth, err := config.GetCredentialsForRef(s.systemContext(key), named)
	if err != nil {
		return "", fmt.Errorf("%w: image %q: credentials: %s", ErrInvalidConfig, key.ref, printable(err.Error()))
	}
	return s.hash("registry", named.Name(), auth.Username, auth.Password, auth.IdentityToken), nil
}

// origin returns the hash of the registry, recorded with layers fetched from it.
func (s *Store) origin(ref Reference) string { return s.hash("origin", ref.domain) }

func (s *Store) accesses(imageID string) ([]string, error) {
	raw, err := s.store.ImageBigData(imageID, accessData)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, storage.ErrImageUnknown) {
		return nil, nil // stored by an earlier version, or a crash came before the record
	}
	if err != nil {
		return nil, fmt.Errorf("read access list of image %s: %w", imageID, err)
	}
	var list []string
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, nil //nolint:nilerr // half written: treat as no record
	}
	return list, nil
}

// grant records that these credentials fetched the image.
func (s *Store) grant(key flightKey, imageID string) error {
	access, err := s.access(key)
	if err != nil {
		return err
	}
	wanted := []string{access}
	if key.ref.path == "" {
		wanted = append(wanted, s.origin(key.ref))
	}
	if err := s.before("note access to image"); err != nil {
		return err
	}
	s.granting.Lock()
	defer s.granting.Unlock()
	list, err := s.accesses(imageID)
	if err != nil {
		return err
	}
	have := len(list)
	for _, hash := range wanted {
		if !slices.Contains(list, hash) {
			list = append(list, hash)
		}
	}
	if len(list) == have {
		return nil
	}
	raw, err := json.Marshal(list[max(0, len(list)-maxAccess):])
	if err == nil {
		err = s.store.SetImageBigData(imageID, accessData, raw, nil)
	}
	if err != nil {
		return fmt.Errorf("write access list of image %s: %w", imageID, err)
	}
	return nil
}

// granted returns errOtherAccess unless these credentials fetched the image, or an additional store
// has it.
func (s *Store) granted(key flightKey, imageID string) error {
	access, err := s.access(key)
	if err != nil {
		return err
	}
	list, err := s.accesses(imageID)
	if err != nil || slices.Contains(list, access) {
		return err
	}
	switch additional, err := s.isAdditional(imageID); {
	case err != nil:
		return err
	case additional:
		return nil
	}
	return errOtherAccess
}

// confirmAccess asks the registry for the manifest of a stored image with the pull's
// credentials.
func (s *Store) confirmAccess(ctx context.Context, key flightKey, img Image) error {
	named, err := reference.ParseNormalizedNamed(key.ref.name)
	if err != nil {
		return err
	}
	digested, err := reference.WithDigest(reference.TrimNamed(named), digest.Digest(img.Digest))
	if err != nil {
		return err
	}
	ref, err := docker.NewReference(digested)
	if err != nil {
		return err
	}
	source, err := ref.NewImageSource(ctx, s.systemContext(key))
	if err != nil {
		return err
	}
	defer source.Close()
	_, _, err = cimage.UnparsedInstance(source, nil).Manifest(ctx) // also verifies the digest
	return err
}

// withConfirmedAccess returns an image fetched with other credentials, if the registry confirms
// that these credentials may pull it. Otherwise it behaves as if the image were not stored, and
// the pull reports the error.
func (s *Store) withConfirmedAccess(ctx context.Context, key flightKey, img Image) (Image, error) {
	if key.ref.path != "" {
		return Image{}, errNotStored
	}
	err := s.confirmAccess(ctx, key, img)
	if err != nil && key.policy == PullNever {
		return Image{}, explain(key.ref, fmt.Errorf("the stored image was fetched with other credentials, and the registry did not confirm these: %w", err))
	}
	if err != nil {
		return Image{}, errNotStored
	}
	s.uses.RLock()
	defer s.uses.RUnlock()
	if err := s.grant(key, img.ID); err != nil {
		return Image{}, err
	}
	return img, s.markUsed(img.ID)
}
