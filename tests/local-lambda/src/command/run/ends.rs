//! How the extensions of each environment ended. After a reset, another environment begins.

use local_lambda::{Entry, Event, EventType, Role};

/// How one process of an extension ended, from the timeline.
pub struct End<'a> {
    extension: &'a str,
    wants_shutdown: bool,
    was_told: bool,
    was_killed: bool,
    /// The exit status. `None` if the file could not be executed.
    status: Option<&'a str>,
}

/// The ends in all environments, in order.
pub fn ends(entries: &[Entry]) -> Vec<End<'_>> {
    let mut ends: Vec<End<'_>> = Vec::new();
    for entry in entries {
        if let Event::Started { process: Role::Extension(name) } = &entry.event {
            ends.push(End::open(name));
        }
        let Some((name, note)) = noted(&entry.event) else { continue };
        // The latest process with this name.
        if let Some(end) = ends.iter_mut().rev().find(|end| end.extension == name) {
            note(end);
        }
    }
    ends
}

type Note<'a> = Box<dyn FnOnce(&mut End<'a>) + 'a>;

fn noted(event: &Event) -> Option<(&str, Note<'_>)> {
    match event {
        Event::Registered { extension, events } => Some((
            extension,
            Box::new(|end| end.wants_shutdown = events.contains(&EventType::Shutdown)),
        )),
        Event::ShutdownSent { extension } => Some((extension, Box::new(|end| end.was_told = true))),
        Event::Killed { process: Role::Extension(name) } => {
            Some((name, Box::new(|end| end.was_killed = true)))
        }
        Event::Exited { process: Role::Extension(name), status } => {
            Some((name, Box::new(|end| end.status = Some(status))))
        }
        _ => None,
    }
}

impl<'a> End<'a> {
    fn open(extension: &'a str) -> Self {
        let (wants_shutdown, was_told, was_killed) = (false, false, false);
        Self { extension, wants_shutdown, was_told, was_killed, status: None }
    }

    /// The problem, if its end is one. Lambda kills an extension that did not register for SHUTDOWN without a
    /// signal, so that end is no problem. Before SHUTDOWN any end is a crash (`Extension.Crash` in the code of
    /// AWS's daemon).
    pub fn problem(&self) -> Option<String> {
        let Self { extension: name, status, .. } = self;
        match (self.was_killed, self.was_told, status) {
            (true, true, _) => {
                Some(format!("{name} was killed: it had SHUTDOWN and did not end in its time"))
            }
            (true, false, _) if self.wants_shutdown => Some(format!(
                "{name} was killed: it never asked for the SHUTDOWN it registered for"
            )),
            (true, false, _) | (false, true, Some("exit status: 0")) | (false, _, None) => None,
            (false, true, Some(status)) => Some(format!("{name} ended with {status}")),
            (false, false, Some(status)) => {
                Some(format!("{name} ended with {status} before SHUTDOWN"))
            }
        }
    }
}
