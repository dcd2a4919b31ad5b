package pod

import (
	"fmt"
	"slices"

	"github.com/moby/sys/user"

	"github.com/nomad-sidecar/nomad-sidecar/driver/ocispec"
)

// maxID is the largest user or group ID of a task.
const maxID = infraID - 1

// lookupUser resolves a user in the syntax of a Containerfile's USER, and the user's
// groups plus the given ones, with the passwd and group files below root. Symbolic
// links resolve within root.
func lookupUser(root, name string, groups ...string) (out ocispec.User, home string, err error) {
	passwd, err := openInRoot(root, "etc/passwd")
	if err != nil {
		return out, "", err
	}
	defer passwd.Close()
	group, err := openInRoot(root, "etc/group")
	if err != nil {
		return out, "", err
	}
	defer group.Close()
	u, err := user.GetExecUser(name, &user.ExecUser{}, passwd, group)
	if err != nil {
		return out, "", fmt.Errorf("%w: user %q: %w", ErrInvalid, name, err)
	}
	for _, id := range append([]int{u.Uid, u.Gid}, u.Sgids...) {
		if id < 0 || id > maxID {
			return out, "", fmt.Errorf("%w: user %q has id %d: want 0 to %d", ErrInvalid, name, id, maxID)
		}
	}
	out = ocispec.User{UID: uint32(u.Uid), GID: uint32(u.Gid)}
	for _, g := range u.Sgids {
		out.Additional = append(out.Additional, uint32(g))
	}
	if len(groups) == 0 {
		return out, u.Home, nil
	}
	more, err := lookupGroups(root, groups)
	if err != nil {
		return out, "", err
	}
	for _, g := range more {
		if g != out.GID && !slices.Contains(out.Additional, g) {
			out.Additional = append(out.Additional, g)
		}
	}
	return out, u.Home, nil
}

func lookupGroups(root string, names []string) ([]uint32, error) {
	file, err := openInRoot(root, "etc/group")
	if err != nil {
		return nil, err
	}
	defer file.Close()
	gids, err := user.GetAdditionalGroups(names, file)
	if err != nil {
		return nil, fmt.Errorf("%w: group_add: %w", ErrInvalid, err)
	}
	var out []uint32
	for _, g := range gids {
		if g < 0 || g > maxID {
			return nil, fmt.Errorf("%w: group_add: id %d: want 0 to %d", ErrInvalid, g, maxID)
		}
		out = append(out, uint32(g))
	}
	slices.Sort(out) // the library returns them in map order
	return out, nil
}
