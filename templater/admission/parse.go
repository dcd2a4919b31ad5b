package admission

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/display"
	"github.com/nomad-sidecar/nomad-sidecar/templater/hcljob"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/jsonjob"
	"github.com/nomad-sidecar/nomad-sidecar/templater/limit"
)

// parsedName is the name that Nomad gives to a job file in its own errors.
const parsedName = "input.hcl"

// parsing is a request to parse a job file (api.JobsParseRequest) that has sidecar blocks. Nomad
// parses the file without them, so that fields of a newer Nomad are accepted, and the sidecars are
// injected into its answer.
//
// The policy takes no part: it applies when the job is planned and registered. Parsing a job needs
// less permission than that, and an answer with the policy's values would disclose them.
type parsing struct {
	rules           *Rules
	text, variables string
}

// parseFields are the fields of a parse request that concern the proxy.
type parseFields struct{ JobHCL, Variables string }

// withoutBlocks takes the sidecar blocks out of the job file of a parse request. Requests without
// such blocks, and those that Nomad will refuse, stay unchanged.
func (r *Rules) withoutBlocks(body []byte) *verdict {
	v := &verdict{body: body, quiet: true}
	var fields parseFields
	var all map[string]json.RawMessage
	// Like Nomad, ignore what follows the object.
	if json.NewDecoder(bytes.NewReader(body)).Decode(&fields) != nil || !strings.Contains(fields.JobHCL, "sidecar") ||
		json.NewDecoder(bytes.NewReader(body)).Decode(&all) != nil {
		return v
	}
	ask := &parsing{&Rules{Catalog: r.Catalog, Region: r.Region}, fields.JobHCL, fields.Variables}
	file, diags := ask.file()
	if diags.HasErrors() || !file.HasSidecars() {
		return v
	}
	v.quiet, v.job = false, *file.Job()
	plain, diags := file.Plain()
	if diags.HasErrors() {
		return ask.denied(v, nil, diags)
	}
	text, err := json.Marshal(string(plain))
	if err != nil {
		return v.deny(badRequest, "Cannot read the request", err.Error()+".")
	}
	for name := range all {
		if strings.EqualFold(name, "JobHCL") { // Nomad accepts any letter case, and the last one counts
			all[name] = text
		}
	}
	if v.body, err = json.Marshal(all); err != nil {
		return v.deny(badRequest, "Cannot read the request", err.Error()+".")
	}
	v.parsing = ask
	return v
}

// file reads the job file. It is read again for Nomad's answer: keeping it while Nomad is working
// would need many times the memory of its text.
func (a *parsing) file() (*hcljob.File, hcl.Diagnostics) {
	return hcljob.Parse([]byte(a.text), parsedName, hcljob.Inputs{VarText: a.variables})
}

// inject injects the sidecars of the file into the job that Nomad read from it.
func (a *parsing) inject(ctx context.Context, v *verdict, parsed []byte) []byte {
	_, span := startSpan(ctx, "plan")
	defer span.End()
	text, diags := a.file()
	if diags.HasErrors() {
		a.denied(v, nil, diags)
		return nil
	}
	answer, more := jsonjob.Parse(parsed, requestName, a.rules.Catalog)
	if diags = append(diags, more...); diags.HasErrors() {
		a.denied(v, nil, diags)
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), treatTimeout)
	defer cancel()
	doc := &parsedJob{text: text, answer: answer, view: templater.Reveal(text.Job(), answer.Job())}
	in, diags := templater.Inject(doc, a.rules.Catalog, templater.Flags{Done: ctx.Done()})
	if a.denied(v, in, diags); v.denial != nil {
		return nil
	}
	v.note(in.Choices)
	v.changed = true
	return in.Output
}

// denied records the diagnostics of a job file. Nomad answers 400 to a file that it cannot parse.
func (a *parsing) denied(v *verdict, in *templater.Injection, diags hcl.Diagnostics) *verdict {
	if a.rules.denied(v, in, diags); v.denial != nil {
		v.denial.status = badRequest
	}
	return v
}

// parsedJob is a job file that Nomad has parsed: choices come from the text, edits apply to the
// answer.
type parsedJob struct {
	text   *hcljob.File
	answer *jsonjob.File
	view   *job.Job
}

func (p *parsedJob) Job() *job.Job       { return p.view }
func (p *parsedJob) Marks() []job.Marked { return p.text.Marks() }
func (p *parsedJob) Defaulted() []string { return p.text.Defaulted() }

func (p *parsedJob) Apply(edits []job.Edit) ([]byte, hcl.Diagnostics) {
	if lost := p.text.CheckDefaults(edits); lost.HasErrors() {
		return nil, lost
	}
	return p.answer.Apply(edits)
}

// Source is called if nothing is chosen for a file with injected tasks, which Nomad did not get.
func (p *parsedJob) Source() ([]byte, hcl.Diagnostics) {
	return nil, hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Injected job with sidecar blocks",
		Detail: "The job file has injected tasks as well as sidecar blocks, but no sidecar is chosen. Send the file as it was before injection, which nomad-sidecar eject restores."}}
}

// finish replaces Nomad's answer to a parse request by the injected job.
func (p *Proxy) finish(resp *http.Response, v *verdict) error {
	r := resp.Request
	client := v.client
	var held int64
	defer func() { p.Limits.Buffers.Give(client, held) }()
	raw, err := readAnswer(resp.Body, p.maxAnswer, func(n int64) error {
		err := p.Limits.Buffers.Take(client, n)
		if err == nil {
			held += n
		}
		return err
	})
	_ = resp.Body.Close() // it was read, or the connection is closed
	switch {
	case errors.Is(err, errLargeAnswer):
		v.deny(tooLarge, "Job too large", "Nomad's answer has more than "+size(int64(p.maxAnswer))+". Split the job.")
	case err != nil:
		return err
	default:
		release, err := p.jobSlots.Acquire(r.Context(), client, limit.Job, jobWait)
		switch {
		case err != nil && r.Context().Err() != nil:
			return r.Context().Err() // the client has gone
		case err != nil:
			return &refusal{jobs, err}
		}
		raw = v.parsing.inject(r.Context(), v, raw)
		release()
	}
	if v.denial != nil {
		resp.StatusCode, resp.Status = v.denial.status, ""
		resp.Header = maps.Clone(resp.Header)
		resp.Header.Set("Content-Type", "text/plain; charset=utf-8")
		raw = []byte(display.Text("denied by nomad-sidecar: "+v.denial.text) + "\n")
	}
	resp.Body, resp.ContentLength, resp.TransferEncoding = io.NopCloser(bytes.NewReader(raw)), int64(len(raw)), nil
	resp.Header.Set("Content-Length", strconv.Itoa(len(raw)))
	return nil
}

var errLargeAnswer = errors.New("the answer is too large")

// readAnswer reads Nomad's answer in blocks, for each of which take reserves memory.
func readAnswer(from io.Reader, most int, take func(int64) error) ([]byte, error) {
	var out bytes.Buffer
	for {
		if err := take(blockBytes); err != nil {
			return nil, &refusal{buffers, err}
		}
		n, err := io.CopyN(&out, from, blockBytes)
		switch {
		case out.Len() > most:
			return nil, errLargeAnswer
		case errors.Is(err, io.EOF):
			return out.Bytes(), nil
		case err != nil:
			return nil, fmt.Errorf("read Nomad's answer after %d bytes: %w", int64(out.Len())+n, err)
		}
	}
}
