package pod

import (
	"fmt"

	"github.com/moby/sys/user"

	"github.com/nomad-sidecar/nomad-sidecar/driver/ocispec"
)

// lookupUser resolves a user in the form of a Containerfile's USER with the
// passwd and group files below root. Links there are resolved within root.
func lookupUser(root, name string) (ocispec.User, error) {
	passwd, err := openInRoot(root, "etc/passwd")
	if err != nil {
		return ocispec.User{}, err
	}
	defer passwd.Close()
	group, err := openInRoot(root, "etc/group")
	if err != nil {
		return ocispec.User{}, err
	}
	defer group.Close()
	u, err := user.GetExecUser(name, &user.ExecUser{}, passwd, group)
	if err != nil {
		return ocispec.User{}, fmt.Errorf("%w: user %q: %w", ErrInvalid, name, err)
	}
	out := ocispec.User{UID: uint32(u.Uid), GID: uint32(u.Gid)}
	for _, g := range u.Sgids {
		out.Additional = append(out.Additional, uint32(g))
	}
	return out, nil
}
