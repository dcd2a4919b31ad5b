package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/internal/headerfile"
	"github.com/nomad-sidecar/nomad-sidecar/jobs/internal/program"
	"github.com/nomad-sidecar/nomad-sidecar/jobs/sidecars/log-shipper/format"
	"github.com/nomad-sidecar/nomad-sidecar/jobs/sidecars/log-shipper/sink"
)

// Schemes of sinks.
const (
	schemeFile = "file"
	schemeTCP  = "syslog+tcp"
	schemeUDP  = "syslog+udp"
)

// maxDatagram is the largest payload of a UDP datagram over IPv4; maxHeaders is
// reserved for the headers of a syslog message.
const (
	maxDatagram = 65507
	maxHeaders  = 4 << 10
)

// limits define when a batch is sent.
type limits struct {
	lines uint64
	bytes int
	wait  time.Duration
}

// options are the command line.
type options struct {
	logs, state string
	sink        *url.URL
	tasks       []string // none: all
	exclude     []string
	streams     []string // none: all
	format      string
	maxLine     int
	limits      limits
	headers     http.Header
	facility    string
	enterprise  uint
	file        sink.FileOptions
}

// into returns a function that appends a repeated flag to a list.
func into(list *[]string) func(string) error {
	return func(value string) error {
		*list = append(*list, value)
		return nil
	}
}

func parseOptions(args []string, getenv func(string) string, out io.Writer) (options, error) {
	var o options
	logs, state := directories(getenv)
	fs := flag.NewFlagSet("log-shipper", flag.ContinueOnError)
	target := fs.String("sink", "", "destination: http://…, https://…, syslog+tcp://HOST:PORT, syslog+udp://HOST:PORT, file:///PATH")
	fs.StringVar(&o.logs, "logs", logs, "directory of the log files (default: logs in NOMAD_ALLOC_DIR)")
	fs.StringVar(&o.state, "state", state, "directory for state that survives a restart (default: log-shipper in NOMAD_TASK_DIR)")
	fs.Func("task", "ship only this task; may be repeated", into(&o.tasks))
	fs.Func("exclude", "do not ship this task; may be repeated", into(&o.exclude))
	fs.Func("stream", "ship only stdout or stderr; may be repeated", into(&o.streams))
	fs.StringVar(&o.format, "format", "json", "format of lines for HTTP and files: json or text")
	fs.IntVar(&o.maxLine, "max-line", 8192, "maximum bytes of a line; longer lines are sent in pieces")
	fs.Uint64Var(&o.limits.lines, "batch-lines", 1000, "maximum lines of a batch")
	fs.IntVar(&o.limits.bytes, "batch-bytes", 1<<20, "bytes after which a batch is full")
	fs.DurationVar(&o.limits.wait, "batch-wait", time.Second, "maximum time that a line waits for its batch to fill")
	headers := fs.String("headers", "", "file with HTTP headers, such as Authorization, one per line")
	fs.StringVar(&o.facility, "facility", "user", "facility of syslog messages: user, daemon, local0 …")
	fs.UintVar(&o.enterprise, "enterprise", 0, "private enterprise number for job, group and task in syslog messages")
	fs.Int64Var(&o.file.MaxBytes, "file-max-bytes", 0, "rotate the file above this size; 0 never rotates")
	fs.IntVar(&o.file.Keep, "file-keep", 5, "number of rotated files to keep")
	if err := program.Parse(fs, args, out); err != nil {
		return o, err
	}
	var err error
	if o.sink, err = parseSink(*target); err != nil {
		return o, err
	}
	if o.headers, err = headerfile.Read(*headers); err != nil {
		return o, fmt.Errorf("-headers: %w", err)
	}
	return o, o.check()
}

func parseSink(target string) (*url.URL, error) {
	u, err := url.Parse(target)
	if err != nil {
		// The error of url.Parse contains the whole URL with its password.
		return nil, errors.New("-sink is not a URL: write it like https://logs.example.com/in")
	}
	switch u.Scheme {
	case "http", "https":
		if u.Host == "" {
			return nil, fmt.Errorf("-sink %s names no host: write it like https://logs.example.com/in", u.Redacted())
		}
	case schemeTCP, schemeUDP:
		if _, port, err := net.SplitHostPort(u.Host); err != nil || port == "" || u.Path != "" {
			return nil, fmt.Errorf("-sink %s is not a syslog server: write it like syslog+tcp://127.0.0.1:601", u.Redacted())
		}
	case schemeFile:
		if u.Host != "" || !filepath.IsAbs(u.Path) || strings.HasSuffix(u.Path, "/") {
			return nil, fmt.Errorf("-sink %s is not a file: write it with three slashes, like file:///alloc/data/all.log", u.Redacted())
		}
	default:
		return nil, fmt.Errorf("-sink %q: use http, https, syslog+tcp, syslog+udp or file, like file:///alloc/data/all.log", u.Redacted())
	}
	return u, nil
}

func (o options) check() error {
	switch {
	case o.logs == "":
		return errors.New("-logs is missing: outside of Nomad, name the directory of the log files")
	case o.state == "":
		return errors.New("-state is missing: outside of Nomad, name a directory")
	case o.format != "json" && o.format != "text":
		return fmt.Errorf("-format %q: use json or text", o.format)
	case o.maxLine < 1 || o.maxLine > 1<<20:
		return fmt.Errorf("-max-line %d: use 1 to 1048576", o.maxLine)
	case o.sink.Scheme == schemeUDP && o.maxLine > maxDatagram-maxHeaders:
		return fmt.Errorf("-max-line %d does not fit into a datagram: use at most %d", o.maxLine, maxDatagram-maxHeaders)
	case o.limits.lines < 1 || o.limits.bytes < 1 || o.limits.wait < 0:
		return errors.New("-batch-lines and -batch-bytes must be 1 or more, -batch-wait 0 or more")
	case o.enterprise > 1<<32-1:
		return fmt.Errorf("-enterprise %d: want a number of at most 32 bits", o.enterprise)
	case o.file.MaxBytes < 0 || o.file.Keep < 0:
		return errors.New("-file-max-bytes and -file-keep must be 0 or more")
	}
	for _, s := range o.streams {
		if s != "stdout" && s != "stderr" {
			return fmt.Errorf("-stream %q: use stdout or stderr", s)
		}
	}
	return nil
}

// encoder returns the encoder for the sink.
func (o options) encoder(source format.Source) (format.Encoder, error) {
	switch {
	case o.sink.Scheme == schemeTCP || o.sink.Scheme == schemeUDP:
		encode, err := format.Syslog(source, o.facility, uint32(o.enterprise))
		if err != nil {
			return nil, fmt.Errorf("-facility: %w", err)
		}
		return encode, nil
	case o.format == "text":
		return format.Text(), nil
	}
	return format.JSON(source), nil
}

// open opens the sink at its last position.
func (o options) open(last json.RawMessage) (sink.Sink, error) {
	switch o.sink.Scheme {
	case schemeFile:
		return sink.OpenFile(o.sink.Path, last, o.file)
	case schemeTCP:
		return sink.NewSyslog("tcp", o.sink.Host), nil
	case schemeUDP:
		return sink.NewSyslog("udp", o.sink.Host), nil
	}
	contentType := "application/x-ndjson"
	if o.format == "text" {
		contentType = "text/plain; charset=utf-8"
	}
	return sink.NewHTTP(o.sink, contentType, o.headers), nil
}
