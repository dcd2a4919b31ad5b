package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/hashicorp/nomad/api"
)

// Cluster is a client of Nomad's HTTP API.
type Cluster struct {
	client  *api.Client
	headers *headers // nil for a unix socket
}

// Open returns a client configured by NOMAD_ADDR, NOMAD_TOKEN, NOMAD_NAMESPACE and the
// other variables of the nomad command. It does not connect yet.
func Open() (*Cluster, error) { return connect(api.DefaultConfig()) }

// OpenAs is Open with another address, and with token instead of the environment's; ""
// is no token.
func OpenAs(address, token string) (*Cluster, error) {
	config := api.DefaultConfig()
	config.Address, config.SecretID = address, token
	return connect(config)
}

func connect(config *api.Config) (*Cluster, error) {
	c := &Cluster{}
	var err error
	if !strings.HasPrefix(config.Address, "unix:") { // the API's client dials sockets itself
		if c.headers, err = openHeaders(config.TLSConfig); err == nil {
			config.HttpClient = &http.Client{Transport: c.headers}
		}
	}
	if err == nil {
		c.client, err = api.NewClient(config)
	}
	if err != nil {
		return nil, fmt.Errorf("open Nomad's API: %w", err)
	}
	return c, nil
}

// Close closes idle connections.
func (c *Cluster) Close() { c.client.Close() }

// Job is a job to plan or register.
type Job struct {
	// JSON is the job without the surrounding {"Job": …}.
	JSON       json.RawMessage
	ID         string
	Region     string // "" for the environment's region
	Namespace  string // "" for the environment's namespace
	Submission *api.JobSubmission
	// Parent jobs, periodic and parameterized ones, never have allocations. Scheduled jobs, also
	// multiregion ones, get none at registration.
	Parent, Scheduled bool
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
	job.Parent = inner.Periodic != nil || inner.ParameterizedJob != nil
	job.Scheduled = job.Parent || (inner.Multiregion != nil && len(inner.Multiregion.Regions) > 0)
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

// ParseJob returns a job file in HCL as JSON, as Nomad's parser reads it. variables is the text of a
// variable file.
func (c *Cluster) ParseJob(ctx context.Context, text, variables string) (json.RawMessage, error) {
	var raw json.RawMessage
	request := api.JobsParseRequest{JobHCL: text, Variables: variables}
	if _, err := c.client.Raw().Write("/v1/jobs/parse", request, &raw, (&api.WriteOptions{}).WithContext(ctx)); err != nil {
		return nil, fmt.Errorf("parse the job with Nomad: %w", err)
	}
	return raw, nil
}

// Plan returns Nomad's plan for registering the job. With policyOverride, soft mandatory
// Sentinel policies do not fail it.
func (c *Cluster) Plan(ctx context.Context, job *Job, policyOverride bool) (*api.JobPlanResponse, error) {
	body := struct {
		Job            json.RawMessage
		Diff           bool
		PolicyOverride bool `json:",omitempty"`
	}{job.JSON, true, policyOverride}
	var resp api.JobPlanResponse
	if _, err := c.client.Raw().Write("/v1/job/"+escape(job.ID)+"/plan", body, &resp, job.write(ctx)); err != nil {
		return nil, fmt.Errorf("plan job %q: %w", job.ID, err)
	}
	return &resp, nil
}

// Options are the options of a registration. The zero value is Nomad's default.
type Options struct {
	// CheckIndex, if not nil, must equal the job's modify index; 0 means that the job must
	// not exist.
	CheckIndex *uint64
	// PreserveCounts and PreserveResources keep the counts of the groups and the resources of
	// the tasks that the registered job has.
	PreserveCounts, PreserveResources bool
	PolicyOverride                    bool
	EvalPriority                      int // 0 for the job's
}

// Registered is Nomad's answer to a registration or a revert.
type Registered struct {
	Evaluation string // its ID, "" for parents
	Warnings   string
	// ModifyIndex is not less than the job's modify index, unless the job was registered
	// again since.
	ModifyIndex uint64
}

// Register registers the job. The error wraps ErrConflict if the job's modify index is not the
// one to check for.
func (c *Cluster) Register(ctx context.Context, job *Job, o Options) (*Registered, error) {
	body := struct {
		Job               json.RawMessage
		Submission        *api.JobSubmission `json:",omitempty"`
		EnforceIndex      bool               `json:",omitempty"`
		JobModifyIndex    uint64             `json:",omitempty"`
		PreserveCounts    bool               `json:",omitempty"`
		PreserveResources bool               `json:",omitempty"`
		PolicyOverride    bool               `json:",omitempty"`
		EvalPriority      int                `json:",omitempty"`
	}{job.JSON, job.Submission, o.CheckIndex != nil, 0, o.PreserveCounts, o.PreserveResources, o.PolicyOverride, o.EvalPriority}
	if o.CheckIndex != nil {
		body.JobModifyIndex = *o.CheckIndex
	}
	var resp api.JobRegisterResponse
	if _, err := c.client.Raw().Write("/v1/jobs", body, &resp, job.write(ctx)); err != nil {
		return nil, fmt.Errorf("register job %q: %w", job.ID, conflict(err))
	}
	return &Registered{resp.EvalID, resp.Warnings, resp.JobModifyIndex}, nil
}
