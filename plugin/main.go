// Command nomad-driver-pod serves the pod task driver to a Nomad client,
// which starts it. It does nothing else.
package main

import (
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad/plugins"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
)

func main() {
	if image.Reexec() {
		return // this process is a helper of the image store
	}
	plugins.Serve(func(log hclog.Logger) any { return driver.New(log) })
}
