package image

import (
	"fmt"
	"runtime"
	"strings"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/types"
)

// platform is the platform of an image, in Go's names (OCI image-spec, config.md). Empty fields
// are unknown.
type platform struct{ os, arch, variant string }

// parsePlatform parses os/arch[/variant]; "" is the zero platform.
func parsePlatform(s string) (platform, error) {
	if s == "" {
		return platform{}, nil
	}
	parts := strings.Split(s, "/")
	if len(parts) < 2 || len(parts) > 3 || parts[0] == "" || parts[1] == "" {
		return platform{}, fmt.Errorf("%w: platform %q; use os/arch or os/arch/variant, such as linux/arm64",
			ErrInvalidConfig, s)
	}
	return platform{parts[0], parts[1], strings.Join(parts[2:], "")}, nil
}

func (p platform) String() string {
	s := p.os + "/" + p.arch
	if p.variant != "" {
		s += "/" + p.variant
	}
	return s
}

// wanted returns the platform an image must match: the requested one or the host's.
func (p platform) wanted() platform {
	if p == (platform{}) {
		return platform{os: runtime.GOOS, arch: runtime.GOARCH}
	}
	return p
}

// fits reports whether an image for platform have is acceptable. An unknown field matches:
// hand-made images often omit them, and docker runs those too. The variant is compared only if
// one was requested.
func (p platform) fits(have platform) bool {
	same := func(want, have string) bool { return want == "" || have == "" || want == have }
	want := p.wanted()
	return same(want.os, have.os) && same(want.arch, have.arch) && same(want.variant, have.variant)
}

// mismatch returns the error for an image that exists only for other platforms.
func (p platform) mismatch(ref Reference, have string) error {
	if p == (platform{}) {
		return fmt.Errorf("%w: image %q at %s is built for %s, but this host is %s; use an image built for this host, "+
			"or set platform if the host can emulate another",
			ErrPlatform, ref, ref.location(), have, p.wanted())
	}
	return fmt.Errorf("%w: image %q at %s was requested for platform %s, but is built for %s; change platform or the image",
		ErrPlatform, ref, ref.location(), p, have)
}

// chooses checks that a list of manifests has an entry for this platform.
func (p platform) chooses(ref Reference, list manifest.List, sys *types.SystemContext) error {
	if _, err := list.ChooseInstance(sys); err == nil {
		return nil
	}
	var have []string
	for _, digest := range list.Instances() {
		instance, err := list.Instance(digest)
		if err != nil || instance.ReadOnly.Platform == nil {
			continue
		}
		have = append(have, platformOf(*instance.ReadOnly.Platform).String())
	}
	return p.mismatch(ref, strings.Join(have, ", "))
}

func platformOf(p imgspecv1.Platform) platform {
	return platform{p.OS, p.Architecture, p.Variant}
}
