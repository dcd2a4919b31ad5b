package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/docker/reference"
	cimage "go.podman.io/image/v5/image"
	"go.podman.io/image/v5/signature"
	cstorage "go.podman.io/image/v5/storage"
	"go.podman.io/image/v5/types"
	"golang.org/x/sys/unix"
)

// progressInterval is the interval between progress reports of a layer.
const progressInterval = 500 * time.Millisecond

// pull fetches an image and retries transient errors.
func (s *Store) pull(ctx context.Context, key flightKey, tell func(Progress)) (Image, error) {
	if key.policy != PullAlways {
		// The previous pull may have fetched it.
		img, err := s.lookup(key)
		if errors.Is(err, errOtherAccess) {
			img, err = s.withConfirmedAccess(ctx, key, img)
		}
		if !errors.Is(err, errNotStored) {
			return img, err
		}
	}
	_, _ = s.MakeRoom(ctx) // if it fails, the pull may still succeed
	img, err := s.fetch(ctx, key, tell)
	if diskFull(err) {
		if removed, _ := s.reduce(ctx); len(removed) > 0 {
			img, err = s.fetch(ctx, key, tell)
		}
	}
	if err != nil {
		return Image{}, explain(key.ref, err)
	}
	return img, nil
}

// diskFull reports whether the file system was full. An error of the child process has only a text.
func diskFull(err error) bool {
	return err != nil && (errors.Is(err, unix.ENOSPC) || strings.Contains(err.Error(), unix.ENOSPC.Error()))
}

// fetch copies the image, and retries if it comes from a registry.
func (s *Store) fetch(ctx context.Context, key flightKey, tell func(Progress)) (img Image, err error) {
	if key.ref.path == "" {
		err = retry(ctx, func() (err error) {
			limited, idle := withIdleTimeout(ctx, s.cfg.PullIdleTimeout)
			defer idle.stop()
			img, err = s.copyOnce(limited, key, func(p Progress) { idle.touch(p); tell(p) })
			return idle.explain(limited, err)
		})
	} else {
		img, err = s.copyOnce(ctx, key, tell) // a short read of a file is not retried
	}
	return img, err
}

// copyOnce makes one attempt. Complete layers stay in the store for the next attempt.
func (s *Store) copyOnce(ctx context.Context, key flightKey, tell func(Progress)) (img Image, err error) {
	lock, err := s.sharedLockFile(ctx)
	if err != nil {
		return Image{}, err
	}
	defer lock.Close()
	if err := s.before("copy image"); err != nil {
		return Image{}, err
	}
	id, err := s.inChild(ctx, lock, key, tell)
	if err != nil {
		_ = lock.Close()
		if !as[*failure](err) { // the process was killed
			_ = s.sweepAfterKill(context.WithoutCancel(ctx)) // on error the next sweep cleans up
		}
		return Image{}, err
	}
	s.uses.RLock()
	defer s.uses.RUnlock()
	found, err := s.store.Image(id)
	if err != nil {
		return Image{}, fmt.Errorf("read pulled image: %w", err)
	}
	img, _, err = s.stored(found)
	if err != nil {
		return Image{}, err
	}
	if err := s.grant(key, img.ID); err != nil {
		return Image{}, err
	}
	return img, s.markUsed(img.ID)
}

// copyHere copies the image into the store in this process and returns its id.
func (s *Store) copyHere(ctx context.Context, key flightKey, tell func(Progress)) (id string, err error) {
	name, err := key.ref.storeName()
	if err != nil {
		return "", err
	}
	sys := s.systemContext(key)
	// Blob locations learned during one pull must not affect other pulls.
	if sys.BlobInfoCacheDir, err = os.MkdirTemp(sys.BigFilesTemporaryDir, "cache-"); err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(sys.BlobInfoCacheDir)) }()
	src, err := s.openSource(ctx, key.ref, sys)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, src.close()) }()
	chosen, err := choose(ctx, key, src.source, sys)
	if err != nil {
		return "", err
	}
	layers, err := inspect(ctx, key, chosen.image, sys)
	if err != nil {
		return "", err
	}
	alive := func() { tell(newMeter(layers).total) }
	if err := s.proveLayers(ctx, key, src.source, layers, alive); err != nil {
		return "", err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	dest, err := chosen.flatten(src, name)
	if err != nil {
		return "", err
	}
	id, err = s.copyInto(ctx, dest, src, sys, func(events <-chan types.ProgressProperties) {
		newMeter(layers).follow(events, tell, cancel)
	})
	if err != nil && errors.Is(context.Cause(ctx), errTooMuch) {
		err = context.Cause(ctx)
	}
	if err == nil && dest != name {
		err = s.store.AddNames(id, []string{name})
	}
	return id, err
}

func (s *Store) openSource(ctx context.Context, ref Reference, sys *types.SystemContext) (*openedSource, error) {
	var from types.ImageReference = pathReference{ref, sys.BigFilesTemporaryDir}
	if ref.path == "" {
		var err error
		if from, err = ref.source(); err != nil {
			return nil, err
		}
	}
	source, err := from.NewImageSource(ctx, sys)
	if err != nil {
		return nil, err
	}
	return &openedSource{ImageReference: from, source: source}, nil
}

// inspect rejects unusable and forbidden images before a layer is fetched, and returns the
// image's layers.
func inspect(ctx context.Context, key flightKey, chosen *cimage.UnparsedImage, sys *types.SystemContext) ([]types.BlobInfo, error) {
	img, err := cimage.FromUnparsedImage(ctx, sys, chosen)
	if err != nil {
		return nil, err
	}
	if err := checkBlobs(img.ConfigInfo(), img.LayerInfos()); err != nil {
		return nil, err
	}
	config, err := img.OCIConfig(ctx)
	if err != nil {
		return nil, err
	}
	if err := checkDiffIDs(len(config.RootFS.DiffIDs), len(img.LayerInfos())); err != nil {
		return nil, err
	}
	if have := platformOf(config.Platform); !key.platform.fits(have) {
		return nil, key.platform.mismatch(key.ref, have.String())
	}
	return img.LayerInfos(), nil
}

// copyInto copies src into the store under name and returns the image's id. follow receives
// the events of the copy until the channel is closed.
func (s *Store) copyInto(ctx context.Context, name string, src *openedSource, sys *types.SystemContext,
	follow func(<-chan types.ProgressProperties),
) (id string, err error) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return "", fmt.Errorf("name image %q in the store: %w", name, err)
	}
	dest, err := cstorage.Transport.NewStoreReference(layerStore{s.store, s.cfg}, named, "")
	if err != nil {
		return "", fmt.Errorf("name image %q in the store: %w", name, err)
	}
	policy, err := s.cfg.policy()
	if err != nil {
		return "", err
	}
	accepted, err := signature.NewPolicyContext(policy)
	if err != nil {
		return "", fmt.Errorf("signature policy: %w", err)
	}
	defer func() { err = errors.Join(err, accepted.Destroy()) }()

	events := make(chan types.ProgressProperties)
	var followers sync.WaitGroup
	followers.Go(func() { follow(events) })
	var resolved types.ImageReference
	_, err = copy.Image(ctx, accepted, dest, src, &copy.Options{
		SourceCtx:               sys,
		DestinationCtx:          sys,
		Progress:                events,
		ProgressInterval:        progressInterval,
		ReportResolvedReference: &resolved,
	})
	close(events)
	followers.Wait()
	if err != nil {
		return "", err
	}
	_, img, err := cstorage.ResolveReference(resolved)
	if err != nil {
		return "", fmt.Errorf("find copied image: %w", err)
	}
	return img.ID, nil
}
