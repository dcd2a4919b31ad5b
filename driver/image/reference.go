package image

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"go.podman.io/image/v5/docker"
	dockerarchive "go.podman.io/image/v5/docker/archive"
	"go.podman.io/image/v5/docker/reference"
	ociarchive "go.podman.io/image/v5/oci/archive"
	ocilayout "go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/types"
)

// The transports that a Reference may name, as in containers-transports(5).
const (
	transportDocker        = "docker"
	transportOCI           = "oci"
	transportOCIArchive    = "oci-archive"
	transportDockerArchive = "docker-archive"
)

// Reference names an image in a registry or at a path on this host. The zero value names
// nothing. References are comparable.
type Reference struct {
	transport string
	name      string // docker: normalized name with tag or digest
	domain    string // docker: registry host, with its port
	path      string // all others
	anchor    string // the allowed directory above path; "" until AllowedPaths.Locate
	tag       string // oci, oci-archive, docker-archive; may be empty
}

// ParseReference parses one of
//
//	[docker://]NAME[:TAG][@DIGEST]
//	oci:PATH[:TAG]
//	oci-archive:PATH[:TAG]
//	docker-archive:PATH[:NAME:TAG|:@INDEX]
//
// Names are completed as docker does: "nginx" is "docker.io/library/nginx:latest". If a name has
// both tag and digest, the digest applies. Nothing is looked up. Errors wrap ErrInvalidReference.
func ParseReference(s string) (Reference, error) {
	prefix, rest, _ := strings.Cut(s, ":")
	switch prefix {
	case transportDocker:
		if named, ok := strings.CutPrefix(rest, "//"); ok {
			return parseNamed(s, named)
		}
	case transportOCI, transportOCIArchive, transportDockerArchive:
		return parsePath(s, prefix, rest)
	case "dir":
		return Reference{}, invalidReference(s, errors.New("transport \"dir\" is not supported; convert the directory to an OCI layout, oci:PATH"))
	case "docker-daemon", "containers-storage", "sif", "tarball", "ostree", "atomic":
		return Reference{}, invalidReference(s, fmt.Errorf("transport %q is not supported", prefix))
	case "http", "https":
		return Reference{}, invalidReference(s, fmt.Errorf("it is a URL; leave out %q", prefix+"://"))
	}
	return parseNamed(s, s)
}

func invalidReference(s string, why error) error {
	return fmt.Errorf("%w %q: %w; use a name such as \"docker.io/library/nginx:1.27\", or "+
		"oci:PATH[:TAG], oci-archive:PATH[:TAG], docker-archive:PATH[:NAME:TAG]",
		ErrInvalidReference, s, why)
}

func parseNamed(s, name string) (Reference, error) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return Reference{}, invalidReference(s, err)
	}
	if digested, ok := named.(reference.Digested); ok {
		// image/v5 rejects a name with tag and digest; docker uses the digest.
		named, err = reference.WithDigest(reference.TrimNamed(named), digested.Digest())
		if err != nil {
			return Reference{}, invalidReference(s, err)
		}
	}
	named = reference.TagNameOnly(named)
	return Reference{
		transport: transportDocker,
		name:      named.String(),
		domain:    reference.Domain(named),
	}, nil
}

func parsePath(s, transport, rest string) (Reference, error) {
	r := Reference{transport: transport}
	r.path, r.tag, _ = strings.Cut(rest, ":")
	if r.path == "" {
		return Reference{}, invalidReference(s, fmt.Errorf("no path after %q", transport+":"))
	}
	r.path = filepath.Clean(r.path)
	// The tag is checked on use; "/" makes that check independent of whether the path exists.
	probe := r
	probe.path = "/"
	if transport == transportDockerArchive {
		probe.path = "/archive"
	}
	if _, err := probe.source(); err != nil {
		return Reference{}, invalidReference(s, err)
	}
	return r, nil
}

// String returns the normalized reference, which ParseReference accepts.
func (r Reference) String() string {
	if r.transport == transportDocker || r.transport == "" {
		return r.name
	}
	s := r.transport + ":" + r.path
	if r.tag != "" {
		s += ":" + r.tag
	}
	return s
}

// Registry returns the registry's host, with its port if the reference has one; empty for an
// image at a path.
func (r Reference) Registry() string { return r.domain }

// Path returns the image's path on this host; empty for an image in a registry.
func (r Reference) Path() string { return r.path }

// location names the source of the image in error messages.
func (r Reference) location() string {
	if r.transport == transportDocker {
		return "registry " + r.domain
	}
	return "path " + r.path
}

// source returns the reference for image/v5.
func (r Reference) source() (types.ImageReference, error) {
	switch r.transport {
	case transportDocker:
		named, err := reference.ParseNormalizedNamed(r.name)
		if err != nil {
			return nil, err
		}
		return docker.NewReference(named)
	case transportOCI:
		return ocilayout.NewReference(r.path, r.tag)
	case transportOCIArchive:
		return ociarchive.NewReference(r.path, r.tag)
	case transportDockerArchive:
		if r.tag == "" {
			return dockerarchive.ParseReference(r.path)
		}
		return dockerarchive.ParseReference(r.path + ":" + r.tag)
	default:
		return nil, fmt.Errorf("%w: empty reference", ErrInvalidReference)
	}
}
