"""OpenTelemetry traces of all processes, if an OTLP endpoint is configured."""
