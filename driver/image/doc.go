// Package image keeps the container images of a host and hands out root file
// systems made from them: references, pulls, mounts, unmounts and garbage
// collection. It needs no daemon; everything lives in one directory tree that
// several processes may share, guarded by lock files.
//
// # What a program that uses it must do
//
// A pull, and in it the unpacking of a layer, happens in a child process that is
// this very binary again, so main, and TestMain of a test that opens a Store, must begin with
//
//	if image.Reexec() {
//		return
//	}
//
// A store must be opened by root, in the mount namespace in which the OCI
// runtime will be started: the mounts are ordinary overlay mounts below
// Config.Root, and a runtime started by the same process sees them.
//
// # On disk
//
//	Root/            graph root of go.podman.io/storage (driver "overlay")
//	Root/tmp/        blobs on their way into the store; empty when nobody pulls
//	Root/used/       one empty file an image; its time is the image's last use
//	Root/access.key  what hashes of credentials are keyed with
//	Root/no-auth.json an auth file without credentials
//	Root/create.lock shared while something is being made, exclusive for a sweep
//	RunRoot/         what may be lost at a reboot: the containers and their mounts
//
// # What it does not do
//
// It knows nothing of Nomad, tasks or pods, writes no runtime-spec and starts
// no container. It never pushes, builds or signs. It does not read the task's
// volumes or decide who may use which image, and it ignores the host's
// storage.conf: all options are explicit.
package image
