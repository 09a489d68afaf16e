//! A local Lambda for any extension.
