package pod

import (
	"slices"

	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver/ocispec"
)

// keepFlags adds the flags of the sources to bind mounts. Runtimes remount a bind mount to apply
// its options, which clears flags that are not named, such as the noexec of a host volume.
func keepFlags(mounts []ocispec.Mount) []ocispec.Mount {
	for i, m := range mounts {
		var source unix.Statfs_t
		if m.Type != "bind" || unix.Statfs(m.Source, &source) != nil { // the runtime reports a missing source
			continue
		}
		options := slices.Clone(m.Options)
		if source.Flags&unix.ST_RDONLY != 0 {
			if at := slices.Index(options, "rw"); at >= 0 {
				options[at] = "ro"
			}
		}
		for _, flag := range []struct {
			bit    int64
			option string
		}{{unix.ST_NOEXEC, "noexec"}, {unix.ST_NOSUID, "nosuid"}, {unix.ST_NODEV, "nodev"}} {
			if source.Flags&flag.bit != 0 && !slices.Contains(options, flag.option) {
				options = append(options, flag.option)
			}
		}
		mounts[i].Options = options
	}
	return mounts
}
