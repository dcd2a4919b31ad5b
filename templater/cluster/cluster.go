package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/hashicorp/nomad/api"
)

// Cluster is a client of Nomad's HTTP API.
type Cluster struct{ client *api.Client }

// Open returns a client configured by NOMAD_ADDR, NOMAD_TOKEN, NOMAD_NAMESPACE and the
// other variables of the nomad command. It does not connect yet.
func Open() (*Cluster, error) {
	client, err := api.NewClient(api.DefaultConfig())
	if err != nil {
		return nil, fmt.Errorf("open Nomad's API: %w", err)
	}
	return &Cluster{client}, nil
}

// OpenAs is Open with another address, and with token instead of the environment's; ""
// is no token.
func OpenAs(address, token string) (*Cluster, error) {
	config := api.DefaultConfig()
	config.Address, config.SecretID = address, token
	client, err := api.NewClient(config)
	if err != nil {
		return nil, fmt.Errorf("open Nomad's API: %w", err)
	}
	return &Cluster{client}, nil
}

// Close closes idle connections.
func (c *Cluster) Close() { c.client.Close() }

// Job is a job to plan or register.
type Job struct {
	// JSON is the job without the surrounding {"Job": …}.
	JSON       json.RawMessage
	ID         string
	Region     string // "" for that of the environment
	Namespace  string // the same for the namespace
	Submission *api.JobSubmission
	// Scheduled jobs get no allocations at registration: periodic, parameterized and
	// multiregion ones.
	Scheduled bool
}

// ReadJob decodes a job in JSON, with or without {"Job": …} around it. Like Nomad it
// matches keys case-insensitively, uses the last of several, and ignores data after
// the value.
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

// Plan returns Nomad's plan for registering the job.
func (c *Cluster) Plan(ctx context.Context, job *Job) (*api.JobPlanResponse, error) {
	body := struct {
		Job  json.RawMessage
		Diff bool
	}{job.JSON, true}
	var resp api.JobPlanResponse
	if _, err := c.client.Raw().Write("/v1/job/"+escape(job.ID)+"/plan", body, &resp, job.write(ctx)); err != nil {
		return nil, fmt.Errorf("plan job %q: %w", job.ID, err)
	}
	return &resp, nil
}

// Register registers the job and returns the ID of its evaluation, "" for scheduled
// jobs, and Nomad's warnings. A non-nil checkIndex must equal the job's modify index;
// 0 means that the job must not exist.
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
