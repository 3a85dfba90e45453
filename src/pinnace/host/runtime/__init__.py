"""The OCI runtime, control groups and the client of the supervisor."""
