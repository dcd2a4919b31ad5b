// Package tracing sends spans to a collector of OpenTelemetry, as the environment says in
// OpenTelemetry's own variables.
//
// It makes no spans; whoever has something to tell makes them with the Tracer. It knows
// OTLP alone, over HTTP and gRPC, and no metrics and logs. It reads the environment of
// the process, since the SDK does as well, and sets the SDK's handlers of errors and logs
// for the whole process.
package tracing
