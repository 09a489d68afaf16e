//! Integration tests: each drives the real binary against a local Lambda.
