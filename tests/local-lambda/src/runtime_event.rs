//! The event that the runtime gets for one invocation.

use std::time::SystemTime;

#[derive(Debug, Clone)]
pub struct RuntimeEvent {
    pub request_id: String,
    pub payload: Vec<u8>,
    pub deadline: SystemTime,
    pub context: CallerContext,
}

/// The data that the caller of the function sent besides the payload.
#[derive(Debug, Clone, Default)]
pub struct CallerContext {
    /// `X-Amzn-Trace-Id`. Extensions get it too.
    pub trace_id: Option<String>,
    pub client_context: Option<String>,
    pub cognito_identity: Option<String>,
    pub tenant_id: Option<String>,
}
