package admission

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
)

// selfBytes limits Nomad's answer about a token.
const selfBytes = 1 << 20

// asksWho reports whether the policy depends on who sends a request.
func (r *Rules) asksWho() bool {
	p, ok := r.Policy.(interface{ AsksWho() bool })
	return ok && p.AsksWho()
}

// askedBy returns the rules for a request of one requester.
func (r *Rules) askedBy(who *job.Requester) *Rules {
	c := *r
	c.who = who
	return &c
}

// requester asks Nomad about the token of a request. The answer is used for this request only: a
// token may be revoked, and lose policies and roles, at any time.
func (p *Proxy) requester(r *http.Request, body []byte) *job.Requester {
	addr, _ := p.Limits.Proxies.Sender(r)
	who := &job.Requester{Client: addr.Unmap().WithZone("").String()}
	ctx, cancel := context.WithTimeout(r.Context(), p.askTimeout)
	defer cancel()
	secret, ok := tokenOf(r, body)
	if !ok {
		who.Unknown = unknownRequester("The body has two tokens")
		return who
	}
	header := http.Header{}
	if secret != "" {
		header.Set("X-Nomad-Token", secret)
	}
	status, raw, err := p.Upstream.self(ctx, header)
	var token struct {
		AccessorID string
		Policies   []string
		Roles      []struct{ Name string }
	}
	switch {
	case err != nil:
		who.Unknown = unknownRequester("Nomad does not answer")
	case status == http.StatusBadRequest && strings.Contains(string(raw), "ACL support disabled"):
		return who
	case status != http.StatusOK:
		who.Unknown = unknownRequester(fmt.Sprintf("Nomad answers %d to the question whose token it is", status))
	case json.Unmarshal(raw, &token) != nil:
		who.Unknown = unknownRequester("Nomad's answer about the token is not readable")
	}
	who.Accessor, who.Policies = token.AccessorID, token.Policies
	for _, role := range token.Roles {
		who.Roles = append(who.Roles, role.Name)
	}
	return who
}

func unknownRequester(why string) *diagnostic.Unknown {
	return &diagnostic.Unknown{Expr: "request", WayOut: why + ". Use a valid token of a user, or try again."}
}

// tokenOf returns the token that Nomad will use for a request, "" for none: from the header
// X-Nomad-Token, else from a bearer Authorization (parseToken in Nomad's command/agent/http.go), else
// from the body. It returns false if the body has two: which one counts depends on the route.
func tokenOf(r *http.Request, body []byte) (token string, ok bool) {
	if token = r.Header.Get("X-Nomad-Token"); token != "" {
		return token, true
	}
	scheme, value, found := strings.Cut(r.Header.Get("Authorization"), " ")
	if found && strings.EqualFold(scheme, "bearer") {
		token, _, _ = strings.Cut(strings.TrimSpace(value), " ")
		return token, true
	}
	var inner struct{ SecretID, AuthToken string }
	// A body that is not JSON has no token.
	_ = json.NewDecoder(bytes.NewReader(body)).Decode(&inner)
	if inner.SecretID != "" && inner.AuthToken != "" && inner.SecretID != inner.AuthToken {
		return "", false
	}
	return cmp.Or(inner.SecretID, inner.AuthToken), true
}

// self asks Nomad about a token, with the token itself.
func (u *Upstream) self(ctx context.Context, header http.Header) (status int, raw []byte, err error) {
	ctx, span := u.call(ctx, http.MethodGet, "/v1/acl/token/self")
	defer span.End()
	defer func() { answered(span, status, wrongOfClient) }()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.URL.JoinPath("v1/acl/token/self").String(), nil)
	if err != nil {
		return 0, nil, fmt.Errorf("ask Nomad about a token: %w", err)
	}
	req.Header = header
	propagate(ctx, req.Header)
	client := &http.Client{Transport: u.Transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // the token is only for this Nomad
	}}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, fmt.Errorf("ask Nomad about a token: %w", err)
	}
	defer resp.Body.Close()
	raw, err = io.ReadAll(io.LimitReader(resp.Body, selfBytes))
	if err != nil {
		return resp.StatusCode, nil, fmt.Errorf("ask Nomad about a token: %w", err)
	}
	return resp.StatusCode, raw, nil
}
