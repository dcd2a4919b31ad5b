package driver

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
)

// imageKey is an image that a task's config names, with the keys that say how to pull it.
type imageKey struct {
	key        string // that names the image
	reference  string
	pullPolicy string
	auth       AuthConfig
}

// setImage sets the image that is the task's root, if the task has one.
func (s settings) setImage(t *pod.Task, c TaskConfig, cfg *drivers.TaskConfig) error {
	if c.Image == "" {
		return nil
	}
	k := imageKey{key: "image", reference: c.Image, pullPolicy: c.ImagePullPolicy, auth: c.Auth}
	if c.ForcePull {
		k.pullPolicy = string(image.PullAlways)
	}
	img, err := s.imageOf(k, c, cfg)
	if err == nil {
		t.Image = &img
	}
	return err
}

// imageOf checks an image's reference, and the operator's permission for its path.
func (s settings) imageOf(k imageKey, c TaskConfig, cfg *drivers.TaskConfig) (pod.Image, error) {
	var errs []error
	ref, err := image.ParseReference(k.reference)
	if err == nil {
		// A relative path comes from an artifact or template block.
		dirs := cfg.TaskDir()
		ref, err = image.AllowedPaths{TaskDir: dirs.Dir, SharedDir: dirs.SharedAllocDir, Paths: s.Image.Paths}.Locate(ref)
	}
	if err != nil {
		errs = append(errs, fmt.Errorf("%s: %w", k.key, err))
	}
	if err := checkServerAddress(k.auth.ServerAddress, ref.Registry()); err != nil {
		errs = append(errs, err)
	}
	if k.auth.TLSVerify != nil && !*k.auth.TLSVerify {
		errs = append(errs, errors.New("auth.tls_verify = false: a job cannot turn verification off; the operator can set insecure = true for the registry in registries.conf"))
	}
	policy := image.PullPolicy(firstNonEmpty(k.pullPolicy, string(image.PullMissing)))
	if !slices.Contains([]image.PullPolicy{image.PullMissing, image.PullAlways, image.PullNever}, policy) {
		errs = append(errs, fmt.Errorf("image_pull_policy = %q: want \"missing\", \"always\" or \"never\"", k.pullPolicy))
	}
	timeout := s.pullTimeout
	if c.ImagePullTimeout != "" {
		if timeout, err = time.ParseDuration(c.ImagePullTimeout); err != nil || timeout <= 0 {
			errs = append(errs, fmt.Errorf("image_pull_timeout = %q: want a duration such as \"5m\"", c.ImagePullTimeout))
		}
	}
	return pod.Image{
		Reference: ref,
		Pull: image.PullOptions{
			Policy: policy, Username: k.auth.Username, Password: k.auth.Password,
			Platform: c.Platform, Timeout: timeout,
		},
	}, errors.Join(errs...)
}

// mountsImage reports whether a task mounts the files of an image.
func (c TaskConfig) mountsImage() bool {
	return slices.ContainsFunc(slices.Concat(c.Mounts, c.MountsAlias), func(m MountConfig) bool { return m.Type == mountImage })
}

// addImageMount adds a mount of the files of an image.
func (s settings) addImageMount(t *pod.Task, c TaskConfig, cfg *drivers.TaskConfig, m MountConfig) error {
	if m.Source == "" {
		return errors.New("source is missing: want an image such as \"registry.example/model:1\"")
	}
	if err := checkTarget(m.Target); err != nil {
		return err
	}
	subpath := path.Clean(m.ImageOptions.Subpath)
	if path.IsAbs(subpath) || subpath == ".." || strings.HasPrefix(subpath, "../") {
		return fmt.Errorf("image_options.subpath = %q: want a path below the image's root, without a leading slash, such as \"opt/model\"", m.ImageOptions.Subpath)
	}
	if len(t.ImageMounts) == pod.MaxImageMounts {
		return fmt.Errorf("there are more than %d mounts of images: put the files into fewer images", pod.MaxImageMounts)
	}
	auth := AuthConfig{Username: m.Auth.Username, Password: m.Auth.Password}
	img, err := s.imageOf(imageKey{key: "source", reference: m.Source, pullPolicy: m.ImagePullPolicy, auth: auth}, c, cfg)
	if err != nil {
		return err
	}
	t.ImageMounts = append(t.ImageMounts, pod.ImageMount{Image: img, Subpath: subpath, Target: path.Clean(m.Target)})
	return nil
}
