package image

import "errors"

var (
	// ErrNotFound says that an image, tag or path does not exist.
	ErrNotFound = errors.New("image not found")

	// ErrUnauthorized says that the registry refused the credentials, or that
	// there were none where some are needed.
	ErrUnauthorized = errors.New("not authorized")

	// ErrInvalidReference says that the text does not name an image.
	ErrInvalidReference = errors.New("invalid image reference")

	// ErrInvalidImage says that something is there, but is not an image that
	// can be used.
	ErrInvalidImage = errors.New("not a usable image")

	// ErrPlatform says that the image is not made for the wanted platform.
	ErrPlatform = errors.New("no image for this platform")

	// ErrRejected says that the host's signature policy does not admit the image.
	ErrRejected = errors.New("image rejected by the signature policy")

	// ErrPullTimeout says that an image did not arrive in time.
	ErrPullTimeout = errors.New("image pull timed out")

	// ErrInUse says that a container still uses the image.
	ErrInUse = errors.New("image in use")

	// ErrClosed says that the Store was closed.
	ErrClosed = errors.New("image store is closed")

	// ErrInvalidConfig says that a Config or PullOptions value cannot be used.
	ErrInvalidConfig = errors.New("invalid image configuration")
)
