//! Prints the timeline while it grows.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use local_lambda::{Entry, Event, Invocation, Status, Timeline};
use serde_json::json;

use crate::command::output::{self, unless_unread};

/// How long the end of the timeline may go unnoticed.
const LOOK_EACH: Duration = Duration::from_millis(20);

pub struct Screen {
    paper: Arc<Paper>,
    over: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<()>>,
}

struct Paper {
    timeline: Timeline,
    style: Style,
    /// How many entries were printed.
    printed: Mutex<usize>,
}

#[derive(Clone, Copy)]
enum Style {
    Json,
    Coloured,
    Plain,
}

impl Screen {
    pub fn showing(timeline: Timeline, json: bool) -> io::Result<Self> {
        let style = if json { Style::Json } else { Style::of_terminal() };
        let paper = Arc::new(Paper { timeline, style, printed: Mutex::new(0) });
        let over = Arc::new(AtomicBool::new(false));
        let (following, is_over) = (Arc::clone(&paper), Arc::clone(&over));
        let follow = move || {
            while !is_over.load(Ordering::Acquire) {
                following.print_when_there_is_more()?;
            }
            Ok(())
        };
        let thread = thread::Builder::new().name("screen".to_owned()).spawn(follow)?;
        Ok(Self { paper, over, thread })
    }

    /// Prints an invocation that has ended. In JSON this is a line after all entries up to then.
    pub fn invocation(&self, invocation: &Invocation) -> io::Result<()> {
        self.paper.print()?;
        match self.paper.style {
            Style::Json => output::print(&format!("{}\n", json!({ "invocation": invocation }))),
            Style::Coloured | Style::Plain => Ok(()),
        }
    }

    /// Prints the remaining entries.
    pub fn finish(self) -> io::Result<()> {
        self.over.store(true, Ordering::Release);
        self.thread.join().expect("printing does not panic")?;
        self.paper.print()
    }
}

impl Paper {
    fn print_when_there_is_more(&self) -> io::Result<()> {
        let printed = *self.printed.lock().unwrap_or_else(PoisonError::into_inner);
        if self.timeline.grows_beyond(printed, LOOK_EACH) { self.print() } else { Ok(()) }
    }

    fn print(&self) -> io::Result<()> {
        let mut printed = self.printed.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut entries, count) = self.timeline.entries_since(*printed);
        *printed = count;
        // Some events are noticed after later ones.
        entries.sort_by_key(|entry| entry.at);
        let mut out = io::stdout().lock();
        let written = entries.iter().try_for_each(|entry| self.style.write(entry, &mut out));
        unless_unread(written.and_then(|()| out.flush()))
    }
}

impl Style {
    /// Colours for a terminal, unless the user forbids them (<https://no-color.org>).
    fn of_terminal() -> Self {
        let unwanted = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if io::stdout().is_terminal() && !unwanted { Self::Coloured } else { Self::Plain }
    }

    fn write(self, entry: &Entry, out: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Json => {
                serde_json::to_writer(&mut *out, entry)?;
                writeln!(out)
            }
            Self::Coloured => match colour(&entry.event) {
                Some(colour) => writeln!(out, "\x1b[{colour}m{entry}\x1b[0m"),
                None => writeln!(out, "{entry}"),
            },
            Self::Plain => writeln!(out, "{entry}"),
        }
    }
}

/// The number of the event's colour (ECMA-48, "Select Graphic Rendition").
fn colour(event: &Event) -> Option<&'static str> {
    const BOLD: &str = "1";
    const FAINT: &str = "2";
    const RED: &str = "31";
    const CYAN: &str = "36";
    match event {
        Event::InitStarted { .. }
        | Event::RestoreStarted
        | Event::InvokeStarted { .. }
        | Event::ShutdownStarted { .. } => Some(BOLD),
        Event::InitEnded { status, .. }
        | Event::Replied { status, .. }
        | Event::InvokeEnded { status, .. }
            if *status != Status::Success =>
        {
            Some(RED)
        }
        Event::NotExecuted { .. } | Event::Killed { .. } => Some(RED),
        Event::Frozen | Event::Thawed => Some(CYAN),
        Event::Log { .. } => Some(FAINT),
        _ => None,
    }
}
