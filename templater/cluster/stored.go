package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/hashicorp/nomad/api"
)

// Page returns one page of the list of jobs and the token of the next page, "" after the
// last. The namespace may be "*".
func (c *Cluster) Page(ctx context.Context, namespace, prefix, token string, size int32) ([]*api.JobListStub, string, error) {
	q := &api.QueryOptions{Namespace: namespace, Prefix: prefix, NextToken: token, PerPage: size}
	jobs, meta, err := c.client.Jobs().ListOptions(nil, q.WithContext(ctx))
	if err != nil {
		return nil, "", fmt.Errorf("list jobs: %w", err)
	}
	return jobs, meta.NextToken, nil
}

// Paused returns the jobs with a paused deployment, by namespace and ID.
func (c *Cluster) Paused(ctx context.Context, namespace string) (map[[2]string]bool, error) {
	q := &api.QueryOptions{Namespace: namespace, Filter: `Status == "paused"`}
	deployments, _, err := c.client.Deployments().List(q.WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("list paused deployments: %w", err)
	}
	out := map[[2]string]bool{}
	for _, d := range deployments {
		out[[2]string{d.Namespace, d.JobID}] = true
	}
	return out, nil
}

// Stored returns a job as Nomad stores it, in JSON. Nomad's API cannot address jobs with certain
// IDs, such as x/plan, for which it refuses the request or answers about something else.
func (c *Cluster) Stored(ctx context.Context, namespace, id string) (json.RawMessage, error) {
	return c.ReadBack(ctx, &Job{Namespace: namespace, ID: id})
}

// ReadBack is Stored for a job that was planned or registered.
func (c *Cluster) ReadBack(ctx context.Context, job *Job) (json.RawMessage, error) {
	var raw json.RawMessage
	id := job.ID
	_, err := c.client.Raw().Query("/v1/job/"+escape(id), &raw, job.query(ctx, 0))
	switch {
	case hasStatus(err, http.StatusNotFound):
		err = fmt.Errorf("%w: %w", ErrNoJob, err)
	case hasStatus(err, http.StatusMethodNotAllowed):
		err = ErrNotAddressable
	case err == nil:
		var is struct{ ID string }
		if json.Unmarshal(raw, &is) != nil || is.ID != id {
			err = ErrNotAddressable
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read job %q: %w", id, err)
	}
	return raw, nil
}

// Versions returns the versions of a job that Nomad keeps, newest first.
func (c *Cluster) Versions(ctx context.Context, namespace, id string) ([]json.RawMessage, error) {
	var answer struct{ Versions []json.RawMessage }
	q := &api.QueryOptions{Namespace: namespace}
	_, err := c.client.Raw().Query("/v1/job/"+escape(id)+"/versions", &answer, q.WithContext(ctx))
	if hasStatus(err, http.StatusNotFound) {
		err = fmt.Errorf("%w: %w", ErrNoJob, err)
	}
	if err != nil {
		return nil, fmt.Errorf("read the versions of job %q: %w", id, err)
	}
	return answer.Versions, nil
}

// Deployment returns the last deployment of a job, nil if it has none.
func (c *Cluster) Deployment(ctx context.Context, namespace, id string) (*api.Deployment, error) {
	q := &api.QueryOptions{Namespace: namespace}
	d, _, err := c.client.Jobs().LatestDeployment(id, q.WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("read the deployment of job %q: %w", id, err)
	}
	return d, nil
}

// Submission returns the source of a job version, nil if Nomad has none.
func (c *Cluster) Submission(ctx context.Context, namespace, id string, version uint64) (*api.JobSubmission, error) {
	q := &api.QueryOptions{Namespace: namespace}
	sub, _, err := c.client.Jobs().Submission(id, int(version), q.WithContext(ctx))
	switch {
	case hasStatus(err, http.StatusNotFound):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read the source of job %q: %w", id, err)
	}
	return sub, nil
}

// Revert reverts a job to version to if its current version is from; otherwise the error wraps
// ErrConflict.
func (c *Cluster) Revert(ctx context.Context, namespace, id string, to, from uint64) (*Registered, error) {
	w := &api.WriteOptions{Namespace: namespace}
	resp, _, err := c.client.Jobs().Revert(id, to, &from, w.WithContext(ctx), "", "")
	if err != nil {
		return nil, fmt.Errorf("revert job %q to version %d: %w", id, to, conflict(err))
	}
	return &Registered{resp.EvalID, resp.Warnings, resp.JobModifyIndex}, nil
}

// escape escapes an ID for a path. As a part of a path "." and ".." would be removed.
func escape(id string) string {
	if id == "." || id == ".." {
		return strings.ReplaceAll(id, ".", "%2E")
	}
	return url.PathEscape(id)
}

func hasStatus(err error, status int) bool {
	var answer api.UnexpectedResponseError
	return errors.As(err, &answer) && answer.HasStatusCode() && answer.StatusCode() == status
}
