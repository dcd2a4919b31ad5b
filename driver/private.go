package driver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/nomad-sidecar/nomad-sidecar/driver/ociruntime"
	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
)

// privateMode keeps local users out of the directory: a set-uid program written by
// root in a container must not run on the host (CVE-2021-41091).
const privateMode os.FileMode = 0o700

// makePrivate creates the directory that a plugin config key names, or restricts an
// existing one to root. Only root may be able to replace it.
func makePrivate(key, dir string) error {
	err := restrict(dir)
	if err != nil {
		return fmt.Errorf("%s = %q: %w", key, dir, err)
	}
	return nil
}

func restrict(dir string) error {
	if !filepath.IsAbs(dir) || filepath.Clean(dir) == "/" {
		return errors.New("want an absolute path below /")
	}
	real, err := trustedPath(dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(real, privateMode); err != nil {
		return err
	}
	f, err := os.OpenFile(real, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if uid := ownerOf(info); uid != 0 {
		return fmt.Errorf("it belongs to user %d; run \"chown root %s\", or name another directory", uid, real)
	}
	if info.Mode().Perm() == privateMode {
		return nil
	}
	if err := checkOurs(f, real); err != nil {
		return err
	}
	if err := f.Chmod(privateMode); err != nil {
		return fmt.Errorf("its mode is %04o, not %04o: %w", info.Mode().Perm(), privateMode, err)
	}
	return nil
}

// checkOurs refuses a directory that is not the driver's, so that a mistake in the
// config does not lock its users out.
func checkOurs(dir *os.File, path string) error {
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	ours := []string{"images", "infra", "logs", "lost+found", "pods", "roots", "runtime", "sealed", "skeletons", pod.IDsDir}
	for _, name := range names {
		if !slices.Contains(ours, name) && !strings.HasPrefix(name, probePrefix) && !ociruntime.IsLog(name) {
			return fmt.Errorf("it holds other files; run \"chmod %04o %s\" if it is the driver's alone, or name another directory", privateMode, path)
		}
	}
	return nil
}

// trustedPath resolves the symbolic links of an absolute path. It returns an error if
// a user other than root can replace a directory or link on the way. The end of the
// path need not exist.
func trustedPath(path string) (string, error) {
	const maxLinks = 40 // the kernel's limit, path_resolution(7)
	at, rest := "/", strings.Split(path, "/")
	for links := 0; len(rest) > 0; {
		if err := checkParent(at); err != nil {
			return "", err
		}
		next := filepath.Join(at, rest[0])
		rest = rest[1:]
		info, err := os.Lstat(next)
		if errors.Is(err, os.ErrNotExist) {
			return filepath.Join(append([]string{next}, rest...)...), nil
		}
		if err != nil {
			return "", err
		}
		if info.Mode()&os.ModeSymlink == 0 {
			at = next
			continue
		}
		to, err := os.Readlink(next)
		if links++; err != nil || links > maxLinks || ownerOf(info) != 0 {
			return "", fmt.Errorf("%s is a symbolic link that cannot be trusted; name another directory", next)
		}
		if filepath.IsAbs(to) {
			at = "/"
		}
		rest = append(strings.Split(to, "/"), rest...)
	}
	return at, nil
}

// checkParent checks that only root can replace an entry of dir that belongs to
// root. In /tmp the sticky bit ensures that.
func checkParent(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	const othersWrite = 0o022
	if uid := ownerOf(info); uid != 0 {
		return fmt.Errorf("user %d, who owns %s, can replace it; run \"chown root %s\", or name another directory", uid, dir, dir)
	}
	if info.Mode().Perm()&othersWrite != 0 && info.Mode()&os.ModeSticky == 0 {
		return fmt.Errorf("users other than root can replace it, since %s has mode %04o; run \"chmod go-w %s\", or name another directory",
			dir, info.Mode().Perm(), dir)
	}
	return nil
}

func ownerOf(info os.FileInfo) uint32 { return info.Sys().(*syscall.Stat_t).Uid }
