package tracing

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
)

// settings is what the environment says that the SDK does not judge by itself, or would
// pass over with a line that quotes it.
type settings struct {
	off  bool
	grpc bool // instead of HTTP
}

// readSettings reads the variables by their names in the specification
// (opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables and
// …/protocol/exporter). Those of traces go before those of all signals.
func readSettings() (settings, error) {
	s := settings{off: first("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT").value == ""}
	if strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") || strings.EqualFold(os.Getenv("OTEL_TRACES_EXPORTER"), "none") {
		s.off = true
	}
	if s.off {
		return s, nil
	}
	if exporter := os.Getenv("OTEL_TRACES_EXPORTER"); exporter != "" && exporter != "otlp" {
		return s, fmt.Errorf("OTEL_TRACES_EXPORTER is %q, but only otlp and none are known", exporter)
	}
	switch protocol := first("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"); protocol.value {
	case "", "http/protobuf":
	case "grpc":
		s.grpc = true
	default:
		return s, fmt.Errorf("%s is %q, but only http/protobuf and grpc are known", protocol.name, protocol.value)
	}
	return s, errors.Join(checkEndpoints(), checkHeaders(), checkFiles())
}

type variable struct{ name, value string }

// first is the first variable that is there and not empty, or else the last.
func first(names ...string) variable {
	var v variable
	for _, name := range names {
		if v = (variable{name, strings.TrimSpace(os.Getenv(name))}); v.value != "" {
			break
		}
	}
	return v
}

func set(names ...string) []variable {
	var out []variable
	for _, name := range names {
		if v := first(name); v.value != "" {
			out = append(out, v)
		}
	}
	return out
}

// checkEndpoints quotes none of them: an address may hold a password.
func checkEndpoints() error {
	var errs []error
	for _, v := range set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT") {
		u, err := url.Parse(v.value)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
			errs = append(errs, fmt.Errorf("%s is not http:// or https:// with a host, such as http://127.0.0.1:4318", v.name))
		}
	}
	return errors.Join(errs...)
}

// checkHeaders quotes none of them: they hold the keys of collectors.
func checkHeaders() error {
	var errs []error
	for _, v := range set("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS") {
		for i, pair := range strings.Split(v.value, ",") {
			name, value, found := strings.Cut(pair, "=")
			if _, err := url.PathUnescape(value); !found || err != nil || strings.TrimSpace(name) == "" {
				errs = append(errs, fmt.Errorf("%s is a list of name=value with commas between, which its part %d is not", v.name, i+1))
			}
		}
	}
	return errors.Join(errs...)
}

func checkFiles() error {
	var errs []error
	for _, of := range []string{"CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"} {
		for _, v := range set("OTEL_EXPORTER_OTLP_TRACES_"+of, "OTEL_EXPORTER_OTLP_"+of) {
			if _, err := os.ReadFile(v.value); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", v.name, err))
			}
		}
	}
	return errors.Join(errs...)
}
