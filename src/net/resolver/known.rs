//! The state of one host name's look-ups. Pure: the time is an argument.
//!
//! Invariants:
//! * At most one question of each family is in flight.
//! * An answer that is too late for its look-up serves the next one.
//! * An address that worked stays usable if the resolver fails later.
//! * An address that accepts connections but never answers is tried after all others.

use std::mem;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::ADDRESSES_MAX;
use super::order::{Candidate, in_order, put_first, put_last};

/// How long an address of one family waits for the other family's answer: the "Resolution Delay" of
/// RFC 8305, section 3.
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);

/// The age up to which a late answer serves the next look-up. After that, the question is asked again. The
/// time is longer than the pause between two attempts.
const LATE_ANSWER_MAX: Duration = Duration::from_secs(60);

/// The time that the resolver gets if an earlier answer can replace its answer. Then the earlier one is used.
const STALE_AFTER: Duration = Duration::from_millis(500);

/// The age up to which an earlier answer replaces that of a failing resolver: the lowest value that RFC 8767,
/// section 5, suggests.
const STALE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// How many silent addresses are remembered: as many as one look-up returns. Beyond that, the latest one is
/// replaced.
const SILENT_MAX: usize = 2 * ADDRESSES_MAX;

/// How many addresses an attempt has time to try if none accepts a connection. The next attempt begins with
/// the following ones.
const TRIED_MAX: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    pub const ALL: [Self; 2] = [Self::Ipv4, Self::Ipv6];
}

/// Why a question has no address as its answer.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Whether the resolver answered that no such address exists. Other failures are the resolver's own.
    pub is_definite: bool,
    pub why: String,
}

pub type Answer = Result<Vec<Candidate>, Failure>;

#[derive(Debug, Default)]
enum Question {
    #[default]
    Due,
    InFlight {
        /// Whether a failure would not show the resolver's present state, because a freeze interrupted the
        /// question, or an earlier look-up asked it.
        is_doubtful: bool,
    },
    Found(Vec<Candidate>, Instant),
    Failed(Failure),
}

/// The next step of a look-up.
#[derive(Debug)]
pub enum Verdict {
    Found(Found),
    /// No address was found, for this reason. `None` if no answer arrived in time.
    Failed(Option<String>),
    /// Wait for an answer, until this time if there is one.
    Wait(Option<Instant>),
}

/// The addresses of a name, at least one, the best first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub addresses: Vec<IpAddr>,
    /// If the resolver fails, the time since its answer with these addresses.
    pub age: Option<Duration>,
}

/// The state of one host name.
#[derive(Debug)]
pub struct Known {
    questions: [Question; 2],
    /// When the current look-up began.
    began: Instant,
    /// The resolver's last answer that led to a connection over which the remote answered.
    last: Option<Last>,
    /// The resolver's answer that led to the present connection, over which the remote has not answered yet.
    tried: Option<Last>,
    /// Addresses that accepted a connection but never answered, the latest one at the end.
    silent: Vec<IpAddr>,
    /// How many look-ups found addresses since an address last accepted a connection.
    unreached: usize,
}

/// An answer of the resolver that led to a connection.
#[derive(Debug)]
struct Last {
    /// The first address is the connected one.
    addresses: Vec<IpAddr>,
    at: Instant,
}

impl Known {
    pub fn new(now: Instant) -> Self {
        let questions = Default::default();
        let silent = Vec::new();
        Self { questions, began: now, last: None, tried: None, silent, unreached: 0 }
    }

    pub fn begin(&mut self, now: Instant) {
        self.began = now;
        for question in &mut self.questions {
            match question {
                Question::InFlight { is_doubtful } => *is_doubtful = true,
                Question::Found(_, at) if now.saturating_duration_since(*at) <= LATE_ANSWER_MAX => {
                }
                question => *question = Question::Due,
            }
        }
    }

    /// Returns the questions to ask now, and marks them as in flight.
    pub fn take_due(&mut self) -> Vec<Family> {
        let mut due = Vec::new();
        for (family, question) in Family::ALL.into_iter().zip(&mut self.questions) {
            if matches!(question, Question::Due) {
                *question = Question::InFlight { is_doubtful: false };
                due.push(family);
            }
        }
        due
    }

    pub fn answered(&mut self, family: Family, answer: Answer, now: Instant) {
        let question = &mut self.questions[family as usize];
        let is_doubtful = matches!(question, Question::InFlight { is_doubtful: true });
        *question = match answer {
            Ok(found) => Question::Found(found, now),
            Err(_) if is_doubtful => Question::Due,
            Err(failure) => Question::Failed(failure),
        };
    }

    /// Records a freeze of the process. A question that the freeze may have interrupted is asked again if it
    /// fails.
    pub fn thawed(&mut self) {
        for question in &mut self.questions {
            match question {
                Question::InFlight { is_doubtful } => *is_doubtful = true,
                Question::Failed(_) => *question = Question::Due,
                Question::Due | Question::Found(..) => {}
            }
        }
    }

    /// Decides the next step. Each verdict except [`Verdict::Wait`] ends the look-up.
    pub fn verdict(&mut self, now: Instant) -> Verdict {
        let is_open = |it: &Question| matches!(it, Question::InFlight { .. } | Question::Due);
        if !self.questions.iter().any(is_open) {
            return self.end(now);
        }
        let usable_at = self.usable_since().map(|it| it.max(self.began) + RESOLUTION_DELAY);
        match usable_at.or_else(|| self.stale(now).map(|_| self.began + STALE_AFTER)) {
            Some(until) if until <= now => self.end(now),
            until => Verdict::Wait(until),
        }
    }

    /// Ends the look-up with the answers so far.
    pub fn end(&mut self, now: Instant) -> Verdict {
        let (mut candidates, mut is_definite) = (Vec::new(), true);
        let (mut absence, mut trouble) = (None, None);
        for question in &mut self.questions {
            if matches!(question, Question::InFlight { .. }) {
                is_definite = false;
                continue;
            }
            match mem::take(question) {
                Question::Found(found, _) => candidates.extend(found),
                Question::Failed(Failure { is_definite: true, why }) => {
                    absence = absence.or(Some(why));
                }
                Question::Failed(Failure { why, .. }) => {
                    (trouble, is_definite) = (Some(why), false);
                }
                Question::Due | Question::InFlight { .. } => is_definite = false,
            }
        }
        // Addresses without a route are tried only if there are certainly no others.
        let is_enough = is_definite || candidates.iter().any(Candidate::has_route);
        let addresses = in_order(candidates);
        let found = match self.stale(now).filter(|_| !is_enough) {
            Some(stale) => stale,
            None if is_enough && !addresses.is_empty() => self.fresh(addresses),
            None => return Verdict::Failed(if is_definite { absence } else { trouble }),
        };
        self.unreached += 1;
        Verdict::Found(found)
    }

    /// Records that `to` accepted a connection.
    pub fn connected(&mut self, mut found: Found, to: IpAddr, now: Instant) {
        self.unreached = 0;
        put_first(&mut found.addresses, to);
        let at = now.checked_sub(found.age.unwrap_or_default()).unwrap_or(now);
        self.tried = Some(Last { addresses: found.addresses, at });
    }

    /// Records the end of an attempt, which may have made a connection.
    pub fn attempted(&mut self, is_answered: bool) {
        let Some(tried) = self.tried.take() else { return };
        let address = tried.addresses[0];
        self.silent.retain(|it| *it != address);
        if is_answered {
            self.last = Some(tried);
        } else {
            self.silent.truncate(SILENT_MAX - 1);
            self.silent.push(address);
        }
    }

    /// Returns the addresses with the one first that answered last, because the others may not work.
    fn fresh(&self, mut addresses: Vec<IpAddr>) -> Found {
        if let Some(first) = self.last.as_ref().and_then(|it| it.addresses.first()) {
            put_first(&mut addresses, *first);
        }
        self.found(addresses, None)
    }

    /// Returns the addresses with untried ones first if no address accepted a connection, and silent ones last.
    fn found(&self, mut addresses: Vec<IpAddr>, age: Option<Duration>) -> Found {
        if addresses.len() > TRIED_MAX {
            let tried = self.unreached * TRIED_MAX % addresses.len();
            addresses.rotate_left(tried);
        }
        for silent in &self.silent {
            put_last(&mut addresses, *silent);
        }
        Found { addresses, age }
    }

    fn usable_since(&self) -> Option<Instant> {
        self.questions.iter().find_map(|question| match question {
            Question::Found(found, at) if found.iter().any(Candidate::has_route) => Some(*at),
            _ => None,
        })
    }

    /// An earlier answer that can replace the resolver's.
    fn stale(&self, now: Instant) -> Option<Found> {
        let Last { addresses, at } = self.last.as_ref()?;
        let age = now.saturating_duration_since(*at);
        (age <= STALE_MAX).then(|| self.found(addresses.clone(), Some(age)))
    }
}

#[cfg(test)]
mod tests;
