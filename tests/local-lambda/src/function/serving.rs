//! The handling of one event by the handler and the agent.

use std::time::{Duration, Instant};

use serde_json::json;

use super::Moment;
use super::end::End;
use super::runtime_api::{Event, Failed};
use super::shared::Shared;
use super::task::{Outcome, Task};
use crate::agent::{AfterTimeout, Agent, Ending, Invocation, Reported};

pub struct Serving<'a> {
    shared: &'a Shared,
    event: &'a Event,
    task: Task,
    /// The error of the handler, if it fails.
    failed: Option<Failed>,
    invocation: Invocation,
    started: Instant,
    /// How long the agent's reports took so far.
    agent_took: Duration,
}

impl<'a> Serving<'a> {
    pub fn start(shared: &'a Shared, event: &'a Event) -> Self {
        let (task, failed) = match Task::parse(&event.body) {
            Ok(task) => (task, None),
            Err(message) => {
                let failed = Failed { kind: "Sandbox.InvalidEvent".to_owned(), message };
                (Task::default(), Some(failed))
            }
        };
        let nth = shared.record.update(|record| {
            record.invocations += 1;
            record.invocations
        });
        let invocation = Invocation::of(&event.request_id).response(&"x".repeat(task.body_bytes));
        let invocation = if nth == 1 { invocation.cold_start() } else { invocation };
        let (started, agent_took) = (Instant::now(), Duration::ZERO);
        Self { shared, event, task, failed, invocation, started, agent_took }
    }

    /// The runtime's result for Lambda, as soon as the agent has finished its part.
    ///
    /// # Errors
    ///
    /// When the function ends before.
    pub fn result(&mut self) -> Result<Result<String, Failed>, End> {
        self.shared.compute(self.task.cpu);
        let timed_out = self.work()?;
        match self.task.outcome {
            Outcome::Crash => return Err(End::Crashed),
            Outcome::Exit0 => return Err(End::Exited),
            Outcome::Error => {
                let message = "the event told the handler to fail".to_owned();
                let kind = "Sandbox.HandlerError".to_owned();
                self.failed.get_or_insert(Failed { kind, message });
            }
            Outcome::Success | Outcome::Late | Outcome::Hang => {}
        }
        let handler_took = self.started.elapsed().saturating_sub(self.agent_took);
        match timed_out {
            None => self.report_before_response(),
            Some(first) => self.report_after_timeout(first)?,
        }
        let failed = self.failed.take();
        Ok(failed.map_or_else(|| Ok(self.response(handler_took)), Err))
    }

    /// The steps after the response is sent.
    pub fn end(&mut self) {
        let (handler_and_agent, agent) = (self.started.elapsed(), self.agent_took);
        if self.task.after_response_post {
            let invocation = Invocation::of(&self.event.request_id);
            let items = self.items(&invocation, &Ending::Success);
            self.report(Moment::AfterResponse, &items);
        }
        if self.shared.function.verbose {
            let id = &self.event.request_id;
            eprintln!("function: {id} took {handler_and_agent:?}, of it the agent {agent:?}");
        }
    }

    /// Waits for the handler's time. Returns the agent's report if the deadline came near.
    fn work(&mut self) -> Result<Option<Reported>, End> {
        let margin = self.agent().margin();
        let timeout_at = self.event.deadline.checked_sub(margin).unwrap_or(self.started);
        let until = match self.task.outcome {
            Outcome::Hang => None,
            Outcome::Late => Some(timeout_at + margin / 2),
            _ => Some(Instant::now() + self.task.work),
        };
        let mut timed_out = None;
        let watches = self.task.reports > 0 && self.after_timeout() != AfterTimeout::NeverReported;
        if watches && until.is_none_or(|until| until > timeout_at) {
            self.shared.pass_until(Some(timeout_at))?;
            let items = self.items(&self.invocation, &Ending::Timeout);
            timed_out = Some(self.report(Moment::Timeout, &items));
        }
        if !self.is_interrupted(timed_out.as_ref()) {
            self.shared.pass_until(until)?;
        }
        Ok(timed_out)
    }

    /// Whether the agent's report interrupts the handler. Python's agent reports from a signal handler, so an
    /// error of the report is raised in the customer's handler.
    fn is_interrupted(&mut self, timed_out: Option<&Reported>) -> bool {
        let failure = timed_out.and_then(Reported::failure);
        let throws = self.after_timeout() == AfterTimeout::ReportAgain;
        let Some(failure) = failure.filter(|_| throws) else { return false };
        let message = format!("the report of the timeout failed: {failure}");
        self.failed = Some(Failed { kind: "ReadTimeout".to_owned(), message });
        true
    }

    fn report_before_response(&mut self) {
        let ending = match &self.failed {
            None => Ending::Success,
            Some(Failed { kind, message }) => {
                Ending::Error { kind: kind.clone(), message: message.clone() }
            }
        };
        for nth in 0..self.task.reports {
            let another = Invocation::of(&self.event.request_id);
            let invocation = if nth == 0 { &self.invocation } else { &another };
            let items = self.items(invocation, &ending);
            self.report(Moment::BeforeResponse, &items);
        }
    }

    fn report_after_timeout(&mut self, first: Reported) -> Result<(), End> {
        match self.after_timeout() {
            AfterTimeout::ReportAgain => {
                let mut items = first.items;
                items.extend(self.invocation.items(self.agent(), &Ending::Timeout, 1));
                self.report(Moment::BeforeResponse, &items);
                Ok(())
            }
            AfterTimeout::StaySilent | AfterTimeout::NeverReported => Ok(()),
            AfterTimeout::DropResult => self.shared.pass_until(None),
        }
    }

    fn report(&mut self, moment: Moment, items: &[String]) -> Reported {
        let reported = self.agent().report(items);
        self.agent_took += reported.took;
        if let Some(failure) = reported.failure().filter(|_| self.shared.function.verbose) {
            eprintln!("function: the report of {} failed: {failure}", self.event.request_id);
        }
        self.shared.keep(&self.event.request_id, moment, &reported);
        reported
    }

    fn items(&self, invocation: &Invocation, ending: &Ending) -> Vec<String> {
        invocation.items(self.agent(), ending, self.task.items)
    }

    fn response(&self, handler_took: Duration) -> String {
        json!({
            "agent_us": self.agent_took.as_micros(),
            "handler_us": handler_took.as_micros(),
            "body": "x".repeat(self.task.body_bytes),
        })
        .to_string()
    }

    fn agent(&self) -> &'a Agent {
        &self.shared.function.agent
    }

    fn after_timeout(&self) -> AfterTimeout {
        self.agent().family().profile().after_timeout
    }
}
