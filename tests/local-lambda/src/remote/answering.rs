//! Writes an answer.

use std::io::{self, Write};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;

use crate::answer::Answer;
use crate::http;
use crate::moment::End;
use crate::pace::Pace;
use crate::remote::channel::Channel;
use crate::remote::connections::Line;
use crate::remote::record::Fate;

/// How long the client's kernel may take to report that nobody reads the answer. On loopback it does so within
/// the write.
const BOUNCES_WITHIN: Duration = Duration::from_millis(100);

/// Writes the answer. Returns its fate, and the connection's end, or `None` if the connection can take the next
/// request.
pub fn carry_out(answer: Answer, line: Line<'_>, channel: &mut Channel<'_>) -> (Fate, Option<End>) {
    let mut manner = Manner { pace: None, cut: None };
    let mut answer = answer;
    loop {
        match answer {
            Answer::Reply { status, headers, body } => {
                let bytes = http::render(status, &headers, &body);
                let closes = http::header(&headers, "Connection") == Some("close");
                return reply(&bytes, manner, closes.then_some(End::Close), line, channel);
            }
            Answer::HalfAnswer(bytes) => {
                manner.cut = manner.cut.or(Some((bytes.len(), End::Close)));
                return reply(&bytes, manner, None, line, channel);
            }
            Answer::Hang => return (Fate::Withheld, Some(End::Hang)),
            Answer::Reset => return (Fate::Withheld, Some(End::Reset)),
            Answer::Delayed(delay, then) => {
                if let Some(end) = line.pause(delay) {
                    return (Fate::Withheld, Some(end));
                }
                answer = *then;
            }
            Answer::Paced(pace, then) => {
                manner.pace = Some(pace);
                answer = *then;
            }
            Answer::Cut(bytes, end, then) => {
                manner.cut = Some((bytes, end));
                answer = *then;
            }
        }
    }
}

/// The way in which an answer is written.
#[derive(Clone, Copy)]
struct Manner {
    pace: Option<Pace>,
    /// The number of bytes after which the connection ends, and how it ends.
    cut: Option<(usize, End)>,
}

fn reply(
    bytes: &[u8],
    manner: Manner,
    then: Option<End>,
    line: Line<'_>,
    channel: &mut Channel<'_>,
) -> (Fate, Option<End>) {
    let length = manner.cut.map_or(bytes.len(), |(most, _)| most.min(bytes.len()));
    line.answer();
    let client_had_gone = reports(line, PollFlags::RDHUP, Duration::ZERO);
    if write(&bytes[..length], manner.pace, line, channel).is_err() {
        let end = line.order().unwrap_or(End::Close);
        return (Fate::Undelivered, Some(end));
    }
    match manner.cut {
        Some((_, end)) => (Fate::Withheld, Some(end)),
        // A client that has closed answers bytes with a reset. A client that has only stopped sending reads
        // them.
        None if client_had_gone && reports(line, PollFlags::ERR, BOUNCES_WITHIN) => {
            (Fate::Undelivered, Some(End::Close))
        }
        None => {
            if then.is_none() {
                line.rest();
            }
            (Fate::Answered, then)
        }
    }
}

fn write(
    bytes: &[u8],
    pace: Option<Pace>,
    line: Line<'_>,
    channel: &mut Channel<'_>,
) -> io::Result<()> {
    let Some(pace) = pace else {
        channel.write_all(bytes)?;
        return channel.flush();
    };
    for piece in bytes.chunks(pace.bytes) {
        channel.write_all(piece)?;
        channel.flush()?;
        if line.pause(pace.pause).is_some() {
            return Err(io::Error::other("told to end"));
        }
    }
    Ok(())
}

fn reports(line: Line<'_>, event: PollFlags, within: Duration) -> bool {
    let within = Timespec::try_from(within).expect("a wait of less than the age of the world");
    let mut descriptors = [PollFd::new(line.stream, event)];
    retry_on_intr(|| poll(&mut descriptors, Some(&within))).expect("polling an open socket");
    descriptors[0].revents().intersects(event)
}
