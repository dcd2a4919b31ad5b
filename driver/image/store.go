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

// driverName is the only storage driver: native overlay needs no copying.
const driverName = "overlay"

// Reexec does the work of a child process that the store started, and says
// whether this process is one: main must then return at once. See the package
// comment.
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

// Config says where a Store lives and how it reaches registries.
type Config struct {
	// Root holds images and containers' layers, RunRoot what may be lost at a
	// reboot (best on a tmpfs). Both absolute; both are made if missing.
	Root, RunRoot string

	// AuthFile is a containers-auth.json(5); "" means no credentials. Those of
	// the user that runs the process are never used.
	AuthFile string

	// SignaturePolicyFile is a containers-policy.json(5); "" means the
	// system's, and where there is none every image is accepted.
	SignaturePolicyFile string

	// RegistriesConf is a containers-registries.conf(5), with drop-ins in a
	// directory of the same name plus ".d"; "" means the system's.
	RegistriesConf string

	// PullTimeout bounds a pull that has no timeout of its own; 0 is none.
	PullTimeout time.Duration

	// PullIdleTimeout ends an attempt to pull during which nothing arrived from
	// the registry for so long, and the next one begins; 0 is none.
	PullIdleTimeout time.Duration

	// Before is called before each step that changes what is in the store,
	// which an error makes fail. It may be nil.
	Before func(step string) error `json:"-"`
}

func (s *Store) before(step string) error {
	if s.cfg.Before == nil {
		return nil
	}
	return s.cfg.Before(step)
}

// Store is an open image store. Its methods may be called concurrently.
type Store struct {
	cfg   Config
	store storage.Store

	// base outlives the calls that start a pull, since others may wait for it;
	// Close ends it.
	base  context.Context
	stop  context.CancelCauseFunc
	pulls sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	flights map[flightKey]*flight

	accessKey []byte
	granting  sync.Mutex // held while the record of an image's accesses changes

	// uses makes "look up and mark as used" exclusive with "unused, so delete".
	uses sync.RWMutex
}

// Open opens the store below cfg.Root, makes it if there is none, and clears
// away what a crash left half made. It needs root and overlay. The caller must
// Close the Store. Several processes may have the same store open; within one
// process open it once.
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
	store, err := storage.GetStore(storageOptions(cfg))
	if err != nil {
		// A failed probe is remembered in RunRoot until the next reboot; the
		// cause (a module not loaded yet) may be mended before.
		forget := os.Remove(filepath.Join(cfg.RunRoot, driverName, "overlay-false"))
		if errors.Is(forget, fs.ErrNotExist) {
			forget = nil
		}
		return nil, fmt.Errorf("open image store %s: %w (it must be on a file system that overlay can use, such as ext4 or xfs)",
			cfg.Root, errors.Join(err, forget))
	}
	s := &Store{cfg: cfg, store: store, flights: make(map[flightKey]*flight)}
	if s.accessKey, err = readAccessKey(cfg.Root); err != nil {
		return nil, fmt.Errorf("open image store: %w", err)
	}
	s.base, s.stop = context.WithCancelCause(context.Background())
	if err := s.sweepAfterKill(s.base); err != nil {
		return nil, errors.Join(fmt.Errorf("open image store %s: %w", cfg.Root, err), s.Close())
	}
	return s, nil
}

// storageOptions are all explicit: GetStore takes nothing from storage.conf
// once a driver and both roots are named (storage: store.go, GetStore).
func storageOptions(cfg Config) storage.StoreOptions {
	return storage.StoreOptions{
		GraphRoot:       cfg.Root,
		RunRoot:         cfg.RunRoot,
		GraphDriverName: driverName,
		GraphDriverOptions: []string{
			// metacopy=off: whatever the kernel's default, a layer's files are
			// whole, so nothing depends on how it was mounted before. nodev:
			// a container's devices are on its own /dev.
			"overlay.mountopt=nodev,metacopy=off",
			// No bind mount of Root over itself: it would stay behind when the
			// process is killed.
			"overlay.skip_mount_home=true",
		},
		// Containers do not survive a reboot, so their records may go with it.
		TransientStore: true,
		PullOptions:    map[string]string{"enable_partial_images": "false"},
	}
}

// Close stops pulls and waits for them. Mounts of containers stay: the next
// Open finds them.
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
	return nil
}

// ready is the first step of every call.
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
		return fmt.Errorf("%w: idle timeout %s of a pull is negative", ErrInvalidConfig, c.PullIdleTimeout)
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

// policy reads the signature policy anew for each pull, so that an edit counts.
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
		// Without a file the library searches the user's.
		sys.AuthFilePath = filepath.Join(c.Root, noAuthFile)
	}
	if c.RegistriesConf != "" {
		sys.SystemRegistriesConfDirPath = c.RegistriesConf + ".d"
	}
	return sys
}
