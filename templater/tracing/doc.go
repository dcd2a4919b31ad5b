// Package tracing exports spans to an OpenTelemetry collector, configured by OpenTelemetry's
// environment variables.
//
// The package creates no spans; callers do, with the Tracer. It supports OTLP over HTTP and gRPC,
// and neither metrics nor logs. It reads the process's environment, as the SDK does, and sets the
// SDK's global handlers for errors and logs.
package tracing
