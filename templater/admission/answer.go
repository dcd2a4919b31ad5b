package admission

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/hashicorp/nomad/api"

	"github.com/nomad-sidecar/nomad-sidecar/templater/display"
)

// answerDenial writes the reason of a denial in the form that the nomad command shows, and returns
// the response's status.
func answerDenial(w http.ResponseWriter, to route, v *verdict) int {
	text := display.Text("denied by nomad-sidecar: " + v.denial.text) // it contains names of the job, and the command prints it unescaped
	if to != validate {
		if len(v.warnings) > 0 { // so that one correction is enough
			text += "\nWarnings:\n" + joined("", v.warnings)
		}
		http.Error(w, text, v.denial.status)
		return v.denial.status
	}
	// With any other status the command would validate the job locally, without our denial.
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(api.JobValidateResponse{ // the client may be gone
		DriverConfigValidated: true, ValidationErrors: []string{text}, Error: text, Warnings: joined("", v.warnings),
	})
	return http.StatusOK
}

// answer records Nomad's response and adds our warnings to Nomad's.
func (p *Proxy) answer(resp *http.Response) error {
	if resp.StatusCode == http.StatusTooManyRequests {
		readRefusal(resp)
	}
	v, ok := resp.Request.Context().Value(admitted{}).(*verdict)
	if !ok {
		return nil
	}
	if v.parsing != nil && resp.StatusCode == http.StatusOK {
		if err := p.finish(resp, v); err != nil {
			return err
		}
	}
	v.answered = resp.StatusCode
	v.audit()             // before the client has the answer
	if v.parsing != nil { // the answer is a job, in which warnings have no place
		return nil
	}
	if len(v.warnings) == 0 || resp.StatusCode != http.StatusOK {
		return nil
	}
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("read Nomad's answer: %w", err)
	}
	if err := resp.Body.Close(); err != nil {
		return fmt.Errorf("read Nomad's answer: %w", err)
	}
	raw = withWarnings(raw, v.warnings)
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(raw)), int64(len(raw))
	resp.TransferEncoding = nil
	resp.Header.Set("Content-Length", strconv.Itoa(len(raw)))
	return nil
}

// readRefusal reads the reason with which Nomad refuses a connection. Nomad then resets the
// connection, so a partial read counts as the response.
func readRefusal(resp *http.Response) {
	const most = 4 << 10
	raw, _ := io.ReadAll(io.LimitReader(resp.Body, most))
	_ = resp.Body.Close() // the connection was reset
	resp.Body, resp.ContentLength, resp.TransferEncoding = io.NopCloser(bytes.NewReader(raw)), int64(len(raw)), nil
	resp.Header.Set("Content-Length", strconv.Itoa(len(raw)))
}

// withWarnings adds warnings to a JSON object. It returns any other response unchanged.
func withWarnings(raw []byte, warnings []string) []byte {
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) != nil || fields == nil {
		return raw
	}
	var has string
	_ = json.Unmarshal(fields["Warnings"], &has) // "" if there are none
	text, err := json.Marshal(joined(has, warnings))
	if err != nil {
		return raw
	}
	fields["Warnings"] = text
	if out, err := json.Marshal(fields); err == nil {
		return out
	}
	return raw
}

// joined formats warnings as Nomad does.
func joined(has string, warnings []string) string {
	lines := make([]string, 0, len(warnings)+1)
	if has != "" {
		lines = append(lines, has)
	}
	for _, w := range warnings {
		lines = append(lines, "* nomad-sidecar: "+display.Text(w))
	}
	return strings.Join(lines, "\n")
}

// size formats a number of bytes.
func size(n int64) string {
	if n >= 1<<20 && n%(1<<20) == 0 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d bytes", n)
}
