// Package image stores the container images of a host and provides root file systems created
// from them. It parses references, pulls, mounts, unmounts and collects garbage. It needs no
// daemon: everything is in one directory tree that several processes may share, guarded by lock
// files.
//
// # Requirements
//
// Pulls and the unpacking of layers run in child processes that execute this binary again. main,
// and TestMain of a test that opens a Store, must therefore begin with
//
//	if image.Reexec() {
//		return
//	}
//
// A store must be opened by root, in the mount namespace in which the OCI runtime will run: the
// mounts are ordinary overlay mounts below Config.Root, and a runtime started by the same process
// sees them.
//
// # On disk
//
//	Root/            graph root of go.podman.io/storage (driver "overlay")
//	Root/tmp/        blobs being pulled; empty when no pull runs
//	Root/used/       one empty file per image; its mtime is the image's last use
//	Root/access.key  key for hashing credentials
//	Root/no-auth.json an auth file without credentials
//	Root/create.lock held shared during creation, exclusively during a sweep
//	RunRoot/         state that a reboot may delete: containers and their mounts
//	RunRoot/additional/N read-only mounts of additional stores
//
// # Out of scope
//
// The package knows nothing about Nomad, tasks or pods, writes no runtime-spec and starts no
// container. It never pushes, builds or signs images. It does not read the task's volumes or
// authorize the use of images, and it ignores the host's storage.conf: all options are explicit.
package image
