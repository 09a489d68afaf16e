//! One of the function's threads: polls for an event, handles it, and polls again.

use std::convert::Infallible;
use std::sync::Arc;

use super::end::End;
use super::runtime_api::RuntimeApi;
use super::serving::Serving;
use super::shared::Shared;

pub struct Worker<'a> {
    shared: &'a Shared,
    api: RuntimeApi,
}

impl<'a> Worker<'a> {
    pub fn new(shared: &'a Shared) -> Self {
        let api = RuntimeApi::new(&shared.runtime_api, Arc::clone(&shared.sockets));
        Self { shared, api }
    }

    pub fn api(&mut self) -> &mut RuntimeApi {
        &mut self.api
    }

    /// Handles events until one of them, or the platform, ends the function.
    pub fn serve(&mut self) -> Result<Infallible, End> {
        loop {
            let event = self.api.next()?;
            let mut serving = Serving::start(self.shared, &event);
            match serving.result()? {
                Ok(response) => self.api.respond(&event.request_id, &response)?,
                Err(failed) => self.api.fail(&event.request_id, &failed)?,
            }
            serving.end();
        }
    }
}
