package tracing

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
)

// settings contains the variables that the SDK does not validate, or would quote in its own
// warnings.
type settings struct {
	off  bool
	grpc bool // gRPC instead of HTTP
}

// readSettings reads the variables of the specification
// (opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables and
// …/protocol/exporter). Variables for traces override those for all signals.
func readSettings() (settings, error) {
	s := settings{off: first("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT").value == ""}
	if strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") || strings.EqualFold(os.Getenv("OTEL_TRACES_EXPORTER"), "none") {
		s.off = true
	}
	if s.off {
		return s, nil
	}
	if exporter := os.Getenv("OTEL_TRACES_EXPORTER"); exporter != "" && exporter != "otlp" {
		return s, fmt.Errorf("OTEL_TRACES_EXPORTER is %q; use otlp or none", exporter)
	}
	switch protocol := first("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"); protocol.value {
	case "", "http/protobuf":
	case "grpc":
		s.grpc = true
	default:
		return s, fmt.Errorf("%s is %q; use http/protobuf or grpc", protocol.name, protocol.value)
	}
	return s, errors.Join(checkEndpoints(), checkHeaders(), checkFiles())
}

type variable struct{ name, value string }

// first returns the first variable that is set and not empty, or else the last.
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

// checkEndpoints quotes no values: an address may contain a password.
func checkEndpoints() error {
	var errs []error
	for _, v := range set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT") {
		u, err := url.Parse(v.value)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
			errs = append(errs, fmt.Errorf("%s must be an http:// or https:// URL with a host, such as http://127.0.0.1:4318", v.name))
		}
	}
	return errors.Join(errs...)
}

// checkHeaders quotes no values: headers contain collectors' keys.
func checkHeaders() error {
	var errs []error
	for _, v := range set("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS") {
		for i, pair := range strings.Split(v.value, ",") {
			name, value, found := strings.Cut(pair, "=")
			if _, err := url.PathUnescape(value); !found || err != nil || strings.TrimSpace(name) == "" {
				errs = append(errs, fmt.Errorf("%s must be name=value pairs separated by commas; part %d is not one", v.name, i+1))
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
