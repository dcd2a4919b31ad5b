package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"

	"github.com/hashicorp/nomad/api"
)

// Cluster is a Nomad that is reached by its HTTP API.
type Cluster struct{ client *api.Client }

// Open uses the address, token, namespace, region and certificates that the
// environment names, as the nomad command does: NOMAD_ADDR, NOMAD_TOKEN and so on.
// It does not connect yet.
func Open() (*Cluster, error) {
	client, err := api.NewClient(api.DefaultConfig())
	if err != nil {
		return nil, fmt.Errorf("open Nomad's API: %w", err)
	}
	return &Cluster{client}, nil
}

// OpenAs is Open with another address, and with a token, "" for none, in place of that
// of the environment.
func OpenAs(address, token string) (*Cluster, error) {
	config := api.DefaultConfig()
	config.Address, config.SecretID = address, token
	client, err := api.NewClient(config)
	if err != nil {
		return nil, fmt.Errorf("open Nomad's API: %w", err)
	}
	return &Cluster{client}, nil
}

// Close ends connections that are not in use.
func (c *Cluster) Close() { c.client.Close() }

// Job is a job to plan or register.
type Job struct {
	// JSON is the job itself, without {"Job": …} around it.
	JSON       json.RawMessage
	ID         string
	Region     string // "" for that of the environment
	Namespace  string // the same
	Submission *api.JobSubmission
	// Scheduled jobs get no allocations when they are registered: periodic,
	// parameterized and multiregion ones.
	Scheduled bool
}

// ReadJob takes a job apart that is JSON, with or without {"Job": …} around it.
// Keys are matched without regard to case, the last of several wins, and what
// follows the value is ignored, as Nomad does it.
func ReadJob(raw []byte) (*Job, error) {
	var outer struct{ Job json.RawMessage }
	if err := decodeFirst(raw, &outer); err != nil {
		return nil, fmt.Errorf("read the job: %w", err)
	}
	job := &Job{JSON: outer.Job}
	if len(outer.Job) == 0 || string(outer.Job) == "null" {
		if err := decodeFirst(raw, &job.JSON); err != nil {
			return nil, fmt.Errorf("read the job: %w", err)
		}
	}
	var inner struct {
		ID, Region, Namespace      *string
		Periodic, ParameterizedJob *struct{}
		Multiregion                *struct{ Regions []struct{} }
	}
	if err := json.Unmarshal(job.JSON, &inner); err != nil {
		return nil, fmt.Errorf("read the job: %w", err)
	}
	for from, into := range map[*string]*string{inner.ID: &job.ID, inner.Region: &job.Region, inner.Namespace: &job.Namespace} {
		if from != nil {
			*into = *from
		}
	}
	if job.ID == "" {
		return nil, errNoID
	}
	job.Scheduled = inner.Periodic != nil || inner.ParameterizedJob != nil || (inner.Multiregion != nil && len(inner.Multiregion.Regions) > 0)
	return job, nil
}

func decodeFirst(raw []byte, into any) error {
	return json.NewDecoder(bytes.NewReader(raw)).Decode(into)
}

func (j *Job) write(ctx context.Context) *api.WriteOptions {
	return (&api.WriteOptions{Region: j.Region, Namespace: j.Namespace}).WithContext(ctx)
}

func (j *Job) query(ctx context.Context, index uint64) *api.QueryOptions {
	return (&api.QueryOptions{Region: j.Region, Namespace: j.Namespace, WaitIndex: index}).WithContext(ctx)
}

// Plan asks Nomad what registering the job would change.
func (c *Cluster) Plan(ctx context.Context, job *Job) (*api.JobPlanResponse, error) {
	body := struct {
		Job  json.RawMessage
		Diff bool
	}{job.JSON, true}
	var resp api.JobPlanResponse
	if _, err := c.client.Raw().Write("/v1/job/"+url.PathEscape(job.ID)+"/plan", body, &resp, job.write(ctx)); err != nil {
		return nil, fmt.Errorf("plan job %q: %w", job.ID, err)
	}
	return &resp, nil
}

// Register registers the job and returns the ID of its evaluation, "" for jobs that
// are only scheduled, and Nomad's warnings. With a checkIndex, the job's modify index must
// still be that one; 0 means that the job must not exist.
func (c *Cluster) Register(ctx context.Context, job *Job, checkIndex *uint64) (evalID, warnings string, err error) {
	body := struct {
		Job            json.RawMessage
		Submission     *api.JobSubmission `json:",omitempty"`
		EnforceIndex   bool               `json:",omitempty"`
		JobModifyIndex uint64             `json:",omitempty"`
	}{Job: job.JSON, Submission: job.Submission}
	if checkIndex != nil {
		body.EnforceIndex, body.JobModifyIndex = true, *checkIndex
	}
	var resp api.JobRegisterResponse
	if _, err := c.client.Raw().Write("/v1/jobs", body, &resp, job.write(ctx)); err != nil {
		return "", "", fmt.Errorf("register job %q: %w", job.ID, err)
	}
	return resp.EvalID, resp.Warnings, nil
}
