package job

import "github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"

// Requester is who registers a job: the properties of a token that Nomad reports for it, without the
// token itself.
type Requester struct {
	Accessor string
	// Policies and Roles are the names of the token's own ACL policies and roles. A management token
	// has none.
	Policies, Roles []string
	// Client is the IP address of the connection.
	Client string
	// Unknown is set if Nomad does not say whose token it is.
	Unknown *diagnostic.Unknown
}
