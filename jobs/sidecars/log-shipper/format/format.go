// Package format encodes log lines as JSON, text, or syslog messages of RFC 5424.
//
// The encoding is deterministic. The package neither sends nor frames batches, except
// for the octet count before each syslog message (RFC 6587, section 3.4.1), which
// delimits messages.
package format

import (
	"bytes"
	"encoding/json"
	"net/url"
	"time"
)

// Source describes the origin of all lines of a shipper. Fields may be empty.
type Source struct {
	AllocID   string
	Namespace string
	Job       string
	Group     string
	Hostname  string
}

// Record is one line, or a piece of a long one.
type Record struct {
	Time    time.Time // when it was read
	Task    string
	Stream  string
	Text    []byte // as the task wrote it, without the line feed
	Partial bool   // the next record of the stream continues this one
	Number  uint64 // counts the records of a shipper; the first is 1
}

// Encoder appends a record to dst.
type Encoder func(dst []byte, r Record) ([]byte, error)

// document is the JSON form of a record.
type document struct {
	Time      time.Time `json:"time"`
	Sequence  uint64    `json:"seq"`
	AllocID   string    `json:"alloc_id"`
	Namespace string    `json:"namespace"`
	Job       string    `json:"job"`
	Group     string    `json:"group"`
	Task      string    `json:"task"`
	Stream    string    `json:"stream"`
	Partial   bool      `json:"partial,omitempty"`
	Message   string    `json:"message"`
}

// JSON returns an encoder for JSON lines. Invalid UTF-8 in a message becomes U+FFFD.
func JSON(source Source) Encoder {
	return func(dst []byte, r Record) ([]byte, error) {
		buffer := bytes.NewBuffer(dst)
		encoder := json.NewEncoder(buffer)
		encoder.SetEscapeHTML(false)
		err := encoder.Encode(document{
			Time: r.Time.UTC(), Sequence: r.Number,
			AllocID: source.AllocID, Namespace: source.Namespace, Job: source.Job, Group: source.Group,
			Task: r.Task, Stream: r.Stream, Partial: r.Partial, Message: string(r.Text),
		})
		return buffer.Bytes(), err
	}
}

// Text returns an encoder for TIME TASK STREAM F|P MESSAGE, the format of container
// runtimes with the task added. P marks a piece that the next record continues. The
// message is unchanged. Task names are escaped as in a URL path.
func Text() Encoder {
	return func(dst []byte, r Record) ([]byte, error) {
		tag := byte('F')
		if r.Partial {
			tag = 'P'
		}
		dst = r.Time.UTC().AppendFormat(dst, time.RFC3339Nano)
		dst = append(append(dst, ' '), url.PathEscape(r.Task)...)
		dst = append(append(dst, ' '), r.Stream...)
		dst = append(dst, ' ', tag, ' ')
		return append(append(dst, r.Text...), '\n'), nil
	}
}
