package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.podman.io/image/v5/pkg/sysregistriesv2"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"
	"go.podman.io/storage"
	"go.podman.io/storage/pkg/configfile"
	"go.podman.io/storage/pkg/reexec"
)

// noAuthFile is an auth file without credentials, in Root.
const noAuthFile = "no-auth.json"

// driverName is the only storage driver used: native overlay needs no copying.
const driverName = "overlay"

// Reexec runs a child process that the store started and reports whether this process is one.
// If so, main must return. See the package comment.
func Reexec() bool {
	confineUnpacker(os.Args[0])
	if reexec.Init() {
		return true
	}
	if os.Args[0] != pullProgram {
		return false
	}
	pullMain()
	return true
}

// Config sets the directories of a Store and its access to registries.
type Config struct {
	// Root holds images and containers' layers, RunRoot state that a reboot may delete (best on
	// a tmpfs). Both must be absolute and are created if missing.
	Root, RunRoot string

	// AdditionalStores are stores of other programs, which CheckStore accepts. Their images can be
	// used by every caller, without credentials, and are never removed or changed.
	AdditionalStores []string

	// AuthFile is a containers-auth.json(5); "" means no credentials. The credentials of the
	// process's user are never used.
	AuthFile string

	// SignaturePolicyFile is a containers-policy.json(5); "" means the system's, or accept every
	// image if the system has none.
	SignaturePolicyFile string

	// RegistriesConf is a containers-registries.conf(5), with drop-ins in a
	// directory of the same name plus ".d"; "" means the system's.
	RegistriesConf string

	// PullTimeout limits a pull that has no timeout of its own; 0 means no limit.
	PullTimeout time.Duration

	// PullIdleTimeout ends a pull attempt after this time without data from the registry, and
	// starts the next one; 0 means no limit.
	PullIdleTimeout time.Duration

	// Keep are patterns of names that CheckKeep accepts. GC and MakeRoom do not remove an image
	// with such a name, with or without its tag. As in path.Match, "*" does not match a slash.
	Keep []string

	// GCHigh and GCLow are percentages of the file system of Root, for MakeRoom, which is also
	// called before a pull; GCHigh 0 means no limit.
	GCHigh, GCLow int

	// Removed, if set, is called when GC or MakeRoom has removed an image. It must not block.
	Removed func(imageID string, why Reason) `json:"-"`

	// Before, if set, is called at each checkpoint that changes the store. If it returns an error,
	// the operation fails.
	Before func(checkpoint string) error `json:"-"`
}

func (s *Store) before(checkpoint string) error {
	if s.cfg.Before == nil {
		return nil
	}
	return s.cfg.Before(checkpoint)
}

// Store is an open image store. Its methods may be called concurrently.
type Store struct {
	cfg   Config
	store storage.Store

	// base outlives the call that starts a pull, since other calls may wait for that pull; Close
	// cancels it.
	base  context.Context
	stop  context.CancelCauseFunc
	pulls sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	flights map[flightKey]*flight
	held    map[string]int // calls of Hold by image id

	reserved map[string]time.Time // end of Reserve by image id

	reducing sync.Mutex // held while MakeRoom removes images

	accessKey []byte
	granting  sync.Mutex // held while an image's access list changes

	// uses makes "look up and mark as used" exclusive with "delete if unused".
	uses sync.RWMutex
}

// Open opens the store below cfg.Root, creates it if needed, and deletes leftovers of a crash.
// It needs root and overlay. The caller must Close the Store. Several processes may open the
// same store, but each at most once.
func Open(cfg Config) (*Store, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("open image store %s: root is needed to mount overlay", cfg.Root)
	}
	for _, dir := range []string{"tmp", "used"} {
		if err := os.MkdirAll(filepath.Join(cfg.Root, dir), 0o700); err != nil {
			return nil, fmt.Errorf("open image store: %w", err)
		}
	}
	if err := os.WriteFile(filepath.Join(cfg.Root, noAuthFile), []byte("{}\n"), 0o600); err != nil {
		return nil, fmt.Errorf("open image store: %w", err)
	}
	if err := cfg.mountAdditional(); err != nil {
		return nil, fmt.Errorf("open image store: %w", err)
	}
	store, err := storage.GetStore(storageOptions(cfg))
	if err != nil {
		_ = cfg.unmountAdditional(0)
		// A failed probe is cached in RunRoot until the next reboot, but its cause may be fixed
		// earlier, for example by loading a module.
		forget := os.Remove(filepath.Join(cfg.RunRoot, driverName, "overlay-false"))
		if errors.Is(forget, fs.ErrNotExist) {
			forget = nil
		}
		return nil, fmt.Errorf("open image store %s: %w (it must be on a file system that overlay can use, such as ext4 or xfs)",
			cfg.Root, errors.Join(err, forget))
	}
	s := &Store{cfg: cfg, store: store, flights: map[flightKey]*flight{}, held: map[string]int{}, reserved: map[string]time.Time{}}
	if s.accessKey, err = readAccessKey(cfg.Root); err != nil {
		return nil, fmt.Errorf("open image store: %w", err)
	}
	s.base, s.stop = context.WithCancelCause(context.Background())
	if err := errors.Join(s.removeBroken(), s.sweepAfterKill(s.base)); err != nil {
		return nil, errors.Join(fmt.Errorf("open image store %s: %w", cfg.Root, err), s.Close())
	}
	return s, nil
}

// storageOptions sets all options explicitly: GetStore reads nothing from storage.conf if a
// driver and both roots are set (storage: store.go, GetStore).
func storageOptions(cfg Config) storage.StoreOptions {
	options := storage.StoreOptions{
		GraphRoot:       cfg.Root,
		RunRoot:         cfg.RunRoot,
		GraphDriverName: driverName,
		GraphDriverOptions: []string{
			// metacopy=off: regardless of the kernel's default, a layer's files are complete, so
			// nothing depends on earlier mount options. nodev: a container's devices are on its
			// own /dev.
			"overlay.mountopt=nodev,metacopy=off",
			// No bind mount of Root over itself: it would remain after the process is killed.
			"overlay.skip_mount_home=true",
		},
		// Containers do not survive a reboot, so their records need not either.
		TransientStore: true,
		PullOptions:    map[string]string{"enable_partial_images": "false"},
	}
	for i := range cfg.AdditionalStores {
		options.GraphDriverOptions = append(options.GraphDriverOptions, "overlay.imagestore="+cfg.additionalAt(i))
	}
	return options
}

// Close stops pulls and waits for them. Mounts of containers stay; the next Open finds them.
func (s *Store) Close() error {
	s.mu.Lock()
	already := s.closed
	s.closed = true
	s.mu.Unlock()
	if already {
		return nil
	}
	s.stop(ErrClosed)
	s.pulls.Wait()
	s.store.Free()
	return s.cfg.unmountAdditional(0)
}

// ready returns an error if ctx has ended or the store is closed.
func (s *Store) ready(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	return ctx.Err()
}

func (c Config) check() error {
	for name, dir := range map[string]string{"Root": c.Root, "RunRoot": c.RunRoot} {
		if !filepath.IsAbs(dir) {
			return fmt.Errorf("%w: %s %q must be an absolute path", ErrInvalidConfig, name, dir)
		}
	}
	if c.PullTimeout < 0 {
		return fmt.Errorf("%w: pull timeout %s is negative", ErrInvalidConfig, c.PullTimeout)
	}
	if c.PullIdleTimeout < 0 {
		return fmt.Errorf("%w: pull idle timeout %s is negative", ErrInvalidConfig, c.PullIdleTimeout)
	}
	if c.GCLow < 0 || c.GCHigh < c.GCLow || c.GCHigh >= 100 {
		return fmt.Errorf("%w: images are collected above %d %% and down to %d %%", ErrInvalidConfig, c.GCHigh, c.GCLow)
	}
	if err := c.checkAdditional(); err != nil {
		return err
	}
	for _, pattern := range c.Keep {
		if err := CheckKeep(pattern); err != nil {
			return err
		}
	}
	for name, file := range map[string]string{
		"auth file":        c.AuthFile,
		"signature policy": c.SignaturePolicyFile,
		"registries.conf":  c.RegistriesConf,
	} {
		if file == "" {
			continue
		}
		if _, err := os.Stat(file); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrInvalidConfig, name, err)
		}
	}
	if _, err := c.policy(); err != nil {
		return err
	}
	if _, err := sysregistriesv2.GetRegistries(c.systemContext()); err != nil {
		return fmt.Errorf("%w: registries.conf %s: %w", ErrInvalidConfig, c.RegistriesConf, err)
	}
	return nil
}

// policy reads the signature policy for each pull, so that edits take effect.
func (c Config) policy() (*signature.Policy, error) {
	policy, err := signature.DefaultPolicy(c.systemContext())
	if err == nil {
		return policy, nil
	}
	if c.SignaturePolicyFile == "" && errors.Is(err, configfile.ErrConfigFileNotFound) {
		return &signature.Policy{
			Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()},
		}, nil
	}
	return nil, fmt.Errorf("%w: signature policy %s: %w", ErrInvalidConfig, c.SignaturePolicyFile, err)
}

func (c Config) systemContext() *types.SystemContext {
	sys := &types.SystemContext{
		AuthFilePath:             c.AuthFile,
		SignaturePolicyPath:      c.SignaturePolicyFile,
		SystemRegistriesConfPath: c.RegistriesConf,
		BigFilesTemporaryDir:     filepath.Join(c.Root, "tmp"),
		DockerRegistryUserAgent:  "nomad-driver-pod",
	}
	if c.AuthFile == "" {
		// Without an auth file the library would use the user's.
		sys.AuthFilePath = filepath.Join(c.Root, noAuthFile)
	}
	if c.RegistriesConf != "" {
		sys.SystemRegistriesConfDirPath = c.RegistriesConf + ".d"
	}
	return sys
}
