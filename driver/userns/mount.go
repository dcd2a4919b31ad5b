package userns

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ErrNoIDMap reports that a file system does not support id-mapped mounts.
var ErrNoIDMap = errors.New("its file system does not support id-mapped mounts")

// Mount mounts an opened directory or file at path at, and translates the ids of its files by the
// given user namespace: files of the host's user 0 belong to user 0 of the namespace, and
// what its user 0 creates belongs to the host's. Mounts below are included if recursive is set.
func Mount(source, namespace *os.File, at string, recursive bool) error {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_EMPTY_PATH)
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Propagation: unix.MS_PRIVATE, Userns_fd: uint64(namespace.Fd())}
	setFlags := uint(unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
		setFlags |= unix.AT_RECURSIVE
	}
	tree, err := unix.OpenTree(int(source.Fd()), "", flags)
	if err != nil {
		return &os.PathError{Op: "open_tree", Path: source.Name(), Err: err}
	}
	defer unix.Close(tree)
	err = unix.MountSetattr(tree, "", setFlags, &attr)
	if errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("%s: %w", source.Name(), ErrNoIDMap)
	}
	if err != nil {
		return &os.PathError{Op: "mount_setattr", Path: source.Name(), Err: err}
	}
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return &os.PathError{Op: "move_mount", Path: at, Err: err}
	}
	return nil
}
