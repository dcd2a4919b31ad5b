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

// Paused returns the jobs whose deployment is paused, by namespace and ID.
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

// Stored returns a job as Nomad stores it, in JSON.
func (c *Cluster) Stored(ctx context.Context, namespace, id string) (json.RawMessage, error) {
	var raw json.RawMessage
	q := &api.QueryOptions{Namespace: namespace}
	if _, err := c.client.Raw().Query("/v1/job/"+escape(id), &raw, q.WithContext(ctx)); err != nil {
		if isNotFound(err) {
			err = fmt.Errorf("%w: %w", ErrNoJob, err)
		}
		return nil, fmt.Errorf("read job %q: %w", id, err)
	}
	return raw, nil
}

// Submission returns the source of a job version, nil if Nomad has none.
func (c *Cluster) Submission(ctx context.Context, namespace, id string, version uint64) (*api.JobSubmission, error) {
	q := &api.QueryOptions{Namespace: namespace}
	sub, _, err := c.client.Jobs().Submission(id, int(version), q.WithContext(ctx))
	switch {
	case isNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read the source of job %q: %w", id, err)
	}
	return sub, nil
}

// Revert reverts a job to version to if its current version is from. It returns
// the ID of the evaluation, "" for none.
func (c *Cluster) Revert(ctx context.Context, namespace, id string, to, from uint64) (evalID string, err error) {
	w := &api.WriteOptions{Namespace: namespace}
	resp, _, err := c.client.Jobs().Revert(id, to, &from, w.WithContext(ctx), "", "")
	if err != nil {
		return "", fmt.Errorf("revert job %q to version %d: %w", id, to, err)
	}
	return resp.EvalID, nil
}

// escape escapes an ID for a path. As a part of a path "." and ".." would be removed.
func escape(id string) string {
	if id == "." || id == ".." {
		return strings.ReplaceAll(id, ".", "%2E")
	}
	return url.PathEscape(id)
}

func isNotFound(err error) bool {
	var answer api.UnexpectedResponseError
	return errors.As(err, &answer) && answer.StatusCode() == http.StatusNotFound
}
