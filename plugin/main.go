// Command nomad-driver-pod is the pod task driver plugin, which a Nomad client
// starts. It also runs as its own helper processes.
package main

import (
	"github.com/nomad-sidecar/nomad-sidecar/driver"
	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
)

func main() {
	if pod.Reexec() {
		return
	}
	driver.Serve()
}
