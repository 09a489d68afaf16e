//! Reads requests. Actions can wait for a position in the bytes, and a request that was cut short can be
//! inspected.

use std::io::{self, Read};
use std::time::Instant;

use crate::messages::parse_request;
use crate::moment::{Cut, End, Progress, Stage};
use crate::remote::Shared;
use crate::remote::connections::Line;
use crate::remote::record::{Cause, CutShort, Head};

/// Reads from the stream, but never past a moment that an action waits for.
pub struct Reading<'a, S> {
    pub stream: S,
    line: Line<'a>,
    shared: &'a Shared,
    request: Option<Partial>,
    end: Option<End>,
}

/// The part of a request that was read.
struct Partial {
    number: usize,
    bytes: Vec<u8>,
    /// The head, with its length in bytes.
    head: Option<(usize, Head)>,
    cut: Option<Cut>,
}

impl<'a, S> Reading<'a, S> {
    pub fn new(stream: S, line: Line<'a>, shared: &'a Shared) -> Self {
        Self { stream, line, shared, request: None, end: None }
    }

    /// Begins the next request. `unread` are its bytes that were read with the last one.
    pub fn next_request(&mut self, unread: &[u8]) -> Result<(), End> {
        self.request = None;
        self.line.rest();
        if unread.is_empty() { Ok(()) } else { self.take(unread) }
    }

    /// The number of the request that was read, and when its head was complete.
    pub fn request(&self) -> Option<(usize, Instant)> {
        let request = self.request.as_ref()?;
        Some((request.number, request.head.as_ref()?.1.at))
    }

    pub fn has_begun(&self) -> bool {
        self.request.is_some()
    }

    /// The end of the connection that the script orders, if any.
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// Runs the actions that are due at this stage.
    ///
    /// # Errors
    ///
    /// The end of the connection, if an action or the script orders one.
    pub fn reach(&mut self, stage: Stage) -> Result<(), End> {
        let Some(request) = &self.request else { return Ok(()) };
        let progress = request.progress(stage);
        let cut = request.cut.filter(|cut| progress.has_reached(cut.at)).map(|cut| cut.end);
        let hooks = &self.shared.script.hooks;
        let connection = self.line.number;
        let asked = self.line.stand_still(|| hooks.run(request.number, connection, progress));
        self.end = self.end.or(asked).or(cut).or(self.line.order());
        self.end.map_or(Ok(()), Err)
    }

    pub fn cut_short(&self, cause: Cause) -> CutShort {
        let request = self.request.as_ref();
        let head = request.and_then(|request| request.head.as_ref());
        let body =
            request.zip(head).map(|(request, (length, _))| request.bytes[*length..].to_vec());
        CutShort {
            connection: self.line.number,
            request: request.map(|request| request.number),
            head: head.map(|(_, head)| head.clone()),
            body: body.unwrap_or_default(),
            cause,
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), End> {
        if self.request.is_none() {
            self.begin()?;
        }
        if let Some(request) = &mut self.request {
            request.extend(bytes);
        }
        self.reach(Stage::Reading)
    }

    fn begin(&mut self) -> Result<(), End> {
        self.line.stream.set_read_timeout(None).expect("an option of every TCP socket");
        self.end = self.line.begin();
        if let Some(end) = self.end {
            return Err(end);
        }
        let number = self.shared.count_request();
        let cut = self.shared.script.rules().cut.and_then(|cut| cut(number));
        self.request = Some(Partial { number, bytes: Vec::new(), head: None, cut });
        Ok(())
    }

    fn bytes_before_next_moment(&self) -> usize {
        let script = &self.shared.script;
        let Some(request) = &self.request else {
            // A request has a number, and so its moments, only from its first byte on.
            let watched = script.rules().cut.is_some() || !script.hooks.is_empty();
            return if watched { 1 } else { usize::MAX };
        };
        let progress = request.progress(Stage::Reading);
        let before_cut = request.cut.map_or(usize::MAX, |cut| progress.bytes_before(cut.at));
        before_cut.min(script.hooks.bytes_before_next(request.number, progress))
    }
}

impl<S: Read> Read for Reading<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = self.bytes_before_next_moment().min(buffer.len());
        let count = self.stream.read(&mut buffer[..most])?;
        if count > 0 {
            let taken = self.take(&buffer[..count]);
            taken.map_err(|end| io::Error::other(format!("{end:?} as scripted")))?;
        }
        Ok(count)
    }
}

impl Partial {
    fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        if self.head.is_none() {
            // Bytes that are not HTTP have no head. The reader of the messages reports that.
            if let Ok(Some((length, (method, path, headers)))) = parse_request(&self.bytes) {
                self.head = Some((length, Head { method, path, headers, at: Instant::now() }));
            }
        }
    }

    fn progress(&self, stage: Stage) -> Progress {
        let head = self.head.as_ref().map(|(length, _)| *length);
        Progress { bytes: self.bytes.len(), head, stage }
    }
}
