package pod

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
	"github.com/nomad-sidecar/nomad-sidecar/driver/namespace"
	"github.com/nomad-sidecar/nomad-sidecar/driver/ocispec"
	"github.com/nomad-sidecar/nomad-sidecar/driver/userns"
)

// users is the user namespace of a pod. nil is the host's user namespace.
type users struct {
	userns.Range
	dir string // of the pins
}

// overflowID stands for ids that a namespace does not have (user_namespaces(7)).
const overflowID = 65534

// IDsDir is the directory of Config.IDs in RunDir.
const IDsDir = "userns"

// usersDir has the pins of the pod's user namespace, and of its IPC and UTS namespaces.
func (p *pod) usersDir() string { return filepath.Join(p.dir, "userns") }

// joinUsers returns the pod's user namespace, and creates it if it does not exist. The caller must
// hold p.mu.
func (p *pod) joinUsers(t Task, state podState) (*users, error) {
	if t.Userns != (state.IDs != nil) {
		mode := map[bool]string{true: "auto", false: "host"}
		return nil, fmt.Errorf("%w: userns = %q, but other tasks of the pod have %q; set the same in all tasks of the group",
			ErrInvalid, mode[t.Userns], mode[!t.Userns])
	}
	if !t.Userns {
		return nil, nil
	}
	u := &users{*state.IDs, p.usersDir()}
	if err := p.m.cfg.IDs.Keep(p.allocID, u.Range); err != nil {
		return nil, err
	}
	kinds := []namespace.Kind{namespace.IPC, namespace.UTS}
	missing := func(k namespace.Kind) bool { return !namespace.Pinned(u.dir, k) }
	if !slices.ContainsFunc(append(kinds, namespace.User), missing) {
		return u, nil
	}
	err := p.m.checkpoint("make pod directory", func() error { return os.MkdirAll(u.dir, 0o700) })
	if err != nil {
		return nil, err
	}
	return u, p.m.checkpoint("pin "+string(namespace.User), func() error {
		return namespace.PinUser(u.dir, p.m.cfg.Init, u.First, userns.Size, kinds...)
	})
}

// users returns the user namespace of a running pod.
func (p *pod) users() (*users, error) {
	state, err := readPodState(p.stateFile())
	if err != nil || state.IDs == nil {
		return nil, err
	}
	return &users{*state.IDs, p.usersDir()}, nil
}

// findIDs returns the ids of a pod without a state: those that it had, or new ones for a new pod
// with a user namespace of its own. The caller must hold p.mu.
func (p *pod) findIDs(t Task) (*userns.Range, error) {
	if !namespace.Pinned(p.usersDir(), namespace.User) {
		old := slices.ContainsFunc([]namespace.Kind{namespace.IPC, namespace.UTS, namespace.PID},
			func(k namespace.Kind) bool { return namespace.Pinned(p.namespaceDir(), k) })
		if old || !t.Userns {
			return nil, nil
		}
	}
	ids, err := p.m.cfg.IDs.Claim(p.allocID)
	if errors.Is(err, userns.ErrExhausted) {
		err = fmt.Errorf("userns = \"auto\": %w; wait for other pods to end, or raise userns.size in the plugin's config", err)
	}
	return &ids, err
}

// sweepIDs ends the records of pods that no longer exist. A damaged record stays if a pod has its
// ids, or may have.
func (m *Manager) sweepIDs() error {
	return m.cfg.IDs.Sweep(func(r userns.Range, owner string) bool {
		if uuid.MatchString(owner) {
			_, err := os.Lstat(filepath.Join(m.podsDir(), owner))
			return !errors.Is(err, os.ErrNotExist)
		}
		pods, err := os.ReadDir(m.podsDir())
		return err != nil && !errors.Is(err, os.ErrNotExist) || slices.ContainsFunc(pods, func(e os.DirEntry) bool {
			state, err := readPodState(filepath.Join(m.podsDir(), e.Name(), "pod.json"))
			return err != nil && !errors.Is(err, os.ErrNotExist) || state.IDs != nil && *state.IDs == r
		})
	})
}

// root is the host's id of the namespace's root.
func (u *users) root() uint32 {
	if u == nil {
		return 0
	}
	return u.First
}

// inside returns the id that the namespace has for one of the host.
func (u *users) inside(id uint32) uint32 {
	switch {
	case u == nil:
		return id
	case id >= u.First && id-u.First < userns.Size:
		return id - u.First
	}
	return overflowID
}

// ids returns the ids for the files of images.
func (u *users) ids() image.IDs {
	if u == nil {
		return image.IDs{}
	}
	return image.IDs{First: u.First, Count: userns.Size}
}

// infraUser is the last id of a namespace, which no task gets.
const infraUser = userns.Size - 1

// check refuses users that the namespace does not have.
func (u *users) check(user ocispec.User) error {
	if u == nil {
		return nil
	}
	for _, id := range append([]uint32{user.UID, user.GID}, user.Additional...) {
		if id >= infraUser {
			return mistakef("id %d: with userns = \"auto\" a task has the ids from 0 to %d; use another user, or userns = \"host\"", id, infraUser-1)
		}
	}
	return nil
}

// asRoot runs f so that files that it creates belong to root of the namespace.
func (u *users) asRoot(f func() error) error {
	if u == nil {
		return f()
	}
	return userns.As(u.First, f)
}

// own gives FIFOs to root of the namespace, so that the runtime can give them to the task's user,
// and the task can open /dev/stdout.
func (u *users) own(files ...*os.File) error {
	if u == nil {
		return nil
	}
	for _, f := range files {
		info, err := f.Stat()
		if err == nil && info.Mode()&os.ModeNamedPipe != 0 {
			err = f.Chown(int(u.First), int(u.First))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (u *users) namespaces() []ocispec.Namespace {
	if u == nil {
		return nil
	}
	return []ocispec.Namespace{{Kind: specs.UserNamespace, Path: filepath.Join(u.dir, string(namespace.User))}}
}

// confineInfra puts the infra process in the namespace, which then owns its PID namespace.
func (u *users) confineInfra(c *ocispec.Container) {
	if u == nil {
		return
	}
	c.Namespaces = append(c.Namespaces, u.namespaces()...)
	c.User = ocispec.User{UID: infraUser, GID: infraUser}
}
