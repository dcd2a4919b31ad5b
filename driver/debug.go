package driver

import (
	"errors"
	"flag"
	"fmt"
	"io"

	"github.com/hashicorp/nomad/drivers/shared/capabilities"

	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
)

// debugWord as the first word of "nomad alloc exec" requests a debug container
// instead of a program in the task.
const debugWord = "pod-debug"

const debugUsage = "usage: nomad alloc exec -i -t -task TASK ALLOC " + debugWord + " [-image IMAGE] [COMMAND [ARG…]]"

// parseDebug parses the words after debugWord.
func (s settings) parseDebug(words []string) (pod.Debug, error) {
	if !s.DebugContainers {
		return pod.Debug{}, errors.New(debugWord + " is not allowed here: the operator can set debug_containers = true in the plugin's config")
	}
	flags := flag.NewFlagSet(debugWord, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	from := flags.String("image", "", "")
	if err := flags.Parse(words); err != nil {
		return pod.Debug{}, fmt.Errorf("%w; %s", err, debugUsage)
	}
	d := pod.Debug{Args: flags.Args(), Allowed: s.allowedCaps()}
	if len(d.Args) == 0 {
		d.Args = []string{"/bin/sh"}
	}
	if *from == "" {
		return d, nil
	}
	ref, err := image.ParseReference(*from)
	if err == nil {
		ref, err = image.AllowedPaths{Paths: s.Image.Paths}.Locate(ref)
	}
	if err != nil {
		return pod.Debug{}, fmt.Errorf("-image: %w; %s", err, debugUsage)
	}
	d.Image = &pod.Image{Reference: ref, Pull: image.PullOptions{Policy: image.PullMissing, Timeout: s.pullTimeout}}
	return d, nil
}

// allowedCaps returns the capabilities in allow_caps.
func (s settings) allowedCaps() []string {
	if len(s.AllowCaps) == 0 {
		return capabilities.NomadDefaults().Slice(true)
	}
	return capabilities.New(s.AllowCaps).Slice(true)
}
