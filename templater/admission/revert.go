package admission

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/jsonjob"
)

// reverting is the body of a revert request (structs.JobRevertRequest).
type reverting struct {
	JobID, Namespace, Region, AuthToken string
	JobVersion                          uint64
}

// treatRevert reads the version to revert to from Nomad, with the request's own token. It denies the
// request if the version lacks a sidecar that the policy chooses.
func (p *Proxy) treatRevert(rules *Rules, req *http.Request, body []byte) *verdict {
	v := &verdict{body: body}
	if rules.Policy == nil {
		return v
	}
	var ask reverting
	if err := json.NewDecoder(bytes.NewReader(body)).Decode(&ask); err != nil {
		return v.deny(badRequest, "Cannot read the request", "The body must be the JSON of a revert: "+err.Error()+".")
	}
	v.job.ID = job.Text{Value: ask.JobID}
	if !addressable(ask.JobID) {
		return v.deny(forbidden, "Version cannot be checked", fmt.Sprintf("Nomad's API has no unambiguous path for a job with the ID %q. Submit the job instead.", ask.JobID))
	}
	query := req.URL.Query()
	at := location{cmp.Or(query.Get("namespace"), ask.Namespace, "default"), cmp.Or(query.Get("region"), ask.Region)}
	stored, err := p.version(req, &ask, at)
	if err != nil {
		return v.deny(forbidden, "Version cannot be checked", fmt.Sprintf("%s. Submit the job instead, or use a token that may read it.", err))
	}
	if stored == nil {
		return v // no such version; Nomad reports the error
	}
	at.region = cmp.Or(at.region, rules.Region)
	_, span := startSpan(req.Context(), "choose")
	defer span.End()
	read := func(name string, catalog job.Catalog, keep []job.Marked) (*jsonjob.File, hcl.Diagnostics) {
		return jsonjob.ParseKeeping(stored, name, catalog, keep)
	}
	limited, cancel := context.WithTimeout(req.Context(), treatTimeout)
	defer cancel()
	in, diags := rules.choose(limited, read, at)
	if in != nil {
		v.job = *in.Document.Job()
	}
	if diags.HasErrors() {
		return rules.denied(v, in, diags)
	}
	v.note(in.Choices)
	for _, c := range in.Choices {
		if len(c.Rules) > 0 && !holds(in.Document.Marks(), c, rules.Catalog) {
			return v.deny(forbidden, "Version without a sidecar", fmt.Sprintf("Version %d of job %q lacks sidecar %q in group %q, which rule %q of the policy chooses. Submit the job instead, which injects the sidecar.",
				ask.JobVersion, ask.JobID, c.Definition.Name, c.Group.Name, c.Rules[0]))
		}
	}
	return v
}

// addressable reports whether each part of a path is passed on unchanged. The parts "", "." and ".."
// are removed in transit, so the response would be about another job, or none.
func addressable(id string) bool {
	for part := range strings.SplitSeq(id, "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return utf8.ValidString(id) && !strings.ContainsFunc(id, unicode.IsControl)
}

// holds reports whether a chosen sidecar is present, according to the marks.
func holds(marks []job.Marked, c *templater.Choice, catalog job.Catalog) bool {
	return slices.ContainsFunc(marks, func(m job.Marked) bool {
		return m.Group == c.Group.Name && m.Mark.Name == c.Definition.Name && m.Mark.Doubt(catalog, m.Task) == ""
	})
}

// version returns a stored version of a job, or nil if there is none.
func (p *Proxy) version(req *http.Request, ask *reverting, at location) ([]byte, error) {
	ctx, cancel := context.WithTimeout(req.Context(), p.askTimeout)
	defer cancel()
	ctx, span := p.Upstream.call(ctx, http.MethodGet, "/v1/job/{job_id}/versions")
	defer span.End()
	target := *p.upstream
	target = *target.JoinPath("v1", "job", url.PathEscape(ask.JobID), "versions")
	target.RawQuery = url.Values{"namespace": {at.namespace}, "region": {at.region}}.Encode()
	get, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("read versions of job %q from Nomad: %w", ask.JobID, err)
	}
	for _, name := range []string{"X-Nomad-Token", "Authorization"} {
		get.Header[name] = req.Header[name]
	}
	if get.Header.Get("X-Nomad-Token") == "" && get.Header.Get("Authorization") == "" {
		get.Header.Set("X-Nomad-Token", ask.AuthToken)
	}
	propagate(ctx, get.Header)
	client := &http.Client{Transport: p.transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // another path is another job
	}}
	resp, err := client.Do(get)
	if err != nil {
		answered(span, 0, wrongOfClient)
		return nil, fmt.Errorf("read versions of job %q from Nomad: %w", ask.JobID, err)
	}
	defer resp.Body.Close()
	answered(span, resp.StatusCode, wrongOfClient)
	raw, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return nil, fmt.Errorf("read versions of job %q: %w", ask.JobID, err)
	case resp.StatusCode == http.StatusNotFound:
		return nil, nil
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("read versions of job %q from Nomad: %s: %.200s", ask.JobID, resp.Status, raw)
	}
	return pickVersion(raw, ask.JobID, ask.JobVersion)
}

// pickVersion returns a version from Nomad's response, which must be about the requested job.
func pickVersion(raw []byte, id string, number uint64) ([]byte, error) {
	var answer struct{ Versions []json.RawMessage }
	if err := json.Unmarshal(raw, &answer); err != nil {
		return nil, fmt.Errorf("read versions of a job: %w", err)
	}
	for _, j := range answer.Versions {
		var has struct {
			ID      string
			Version uint64
		}
		if err := json.Unmarshal(j, &has); err != nil {
			return nil, fmt.Errorf("read versions of a job: %w", err)
		}
		if has.ID != id {
			return nil, fmt.Errorf("read versions of job %q: Nomad returned versions of another job", id)
		}
		if has.Version == number {
			return j, nil
		}
	}
	return nil, nil
}
