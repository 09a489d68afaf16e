//! An AWS Lambda extension that answers telemetry agents at once and forwards their reports.

fn main() {}
