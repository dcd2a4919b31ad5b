package image

import "errors"

var (
	// ErrNotFound means that an image, tag or path does not exist.
	ErrNotFound = errors.New("image not found")

	// ErrUnauthorized means that the registry refused the credentials, or that it requires
	// credentials and none were given.
	ErrUnauthorized = errors.New("not authorized")

	// ErrInvalidReference means that the text does not name an image.
	ErrInvalidReference = errors.New("invalid image reference")

	// ErrInvalidImage means that the source exists but holds no usable image.
	ErrInvalidImage = errors.New("not a usable image")

	// ErrPlatform means that the image has no version for the requested platform.
	ErrPlatform = errors.New("no image for this platform")

	// ErrRejected means that the host's signature policy rejects the image.
	ErrRejected = errors.New("image rejected by the signature policy")

	// ErrPullTimeout means that a pull exceeded its timeout.
	ErrPullTimeout = errors.New("image pull timed out")

	// ErrInUse means that a container still uses the image.
	ErrInUse = errors.New("image in use")

	// ErrFull means that no image can be removed to make room on the disk.
	ErrFull = errors.New("the file system of the images is full")

	// ErrClosed means that the Store was closed.
	ErrClosed = errors.New("image store is closed")

	// ErrNoIDMap means that the store's file system, or the kernel, does not support id-mapped mounts.
	ErrNoIDMap = errors.New("no id-mapped mounts in the image store")

	// ErrInvalidConfig means that a Config or PullOptions value is invalid.
	ErrInvalidConfig = errors.New("invalid image configuration")
)
