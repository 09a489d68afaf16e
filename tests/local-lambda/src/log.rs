//! The newest lines that a process wrote, each of limited length.

use std::io::{self, BufRead};

/// Limit of a line. A longer one is cut into several. It is the size limit of an event in CloudWatch Logs (AWS
/// docs "CloudWatch Logs quotas").
pub const LINE_BYTES_MAX: usize = 256 * 1024;

/// Limit of one process's log. Beyond it the older half is dropped.
pub const LOG_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How many bytes of a cut character may be at the end. The longest UTF-8 character has one byte more.
const CUT_CHARACTER_BYTES_MAX: usize = 3;

#[derive(Default)]
pub struct Log {
    text: String,
    left_out_bytes: usize,
}

impl Log {
    pub fn push(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
        if self.text.len() > LOG_BYTES_MAX {
            let half = &self.text.as_bytes()[LOG_BYTES_MAX / 2..];
            // The text always ends with the end of a line.
            let rest = half.iter().position(|byte| *byte == b'\n').unwrap_or_default() + 1;
            let oldest = LOG_BYTES_MAX / 2 + rest;
            self.text.drain(..oldest);
            self.left_out_bytes += oldest;
        }
    }

    /// All lines. If lines were dropped, a first line gives their number.
    pub fn text(&self) -> String {
        match self.left_out_bytes {
            0 => self.text.clone(),
            bytes => format!("[{bytes} bytes before this are left out]\n{}", self.text),
        }
    }

    /// The first unread line that contains `needle`. `seen` is the reader's position, and moves on.
    pub fn find(&self, needle: &str, seen: &mut usize) -> Option<String> {
        let new = self.text.get(seen.saturating_sub(self.left_out_bytes)..).unwrap_or_default();
        *seen = self.left_out_bytes + self.text.len();
        new.lines().find(|line| line.contains(needle)).map(str::to_owned)
    }
}

/// Passes each line to `take`, without its line feed, until the end. Invalid UTF-8 is replaced.
pub fn read_lines(mut pipe: impl BufRead, mut take: impl FnMut(&str)) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        let available = pipe.fill_buf()?;
        if available.is_empty() {
            if !line.is_empty() {
                take(&String::from_utf8_lossy(&line));
            }
            return Ok(());
        }
        let room = LINE_BYTES_MAX - line.len();
        let available = &available[..available.len().min(room)];
        if let Some(end) = available.iter().position(|byte| *byte == b'\n') {
            line.extend_from_slice(&available[..end]);
            pipe.consume(end + 1);
            take(&String::from_utf8_lossy(&line));
            line.clear();
            continue;
        }
        line.extend_from_slice(available);
        let read = available.len();
        pipe.consume(read);
        if line.len() == LINE_BYTES_MAX {
            let rest = line.split_off(whole_characters(&line));
            take(&String::from_utf8_lossy(&line));
            line = rest;
        }
    }
}

/// The length without a character that is cut at the end.
fn whole_characters(line: &[u8]) -> usize {
    let is_start = |byte: &u8| byte & 0b1100_0000 != 0b1000_0000;
    let last = line.iter().rev().take(CUT_CHARACTER_BYTES_MAX).position(is_start);
    let start = last.map_or(line.len(), |back| line.len() - 1 - back);
    let is_cut = std::str::from_utf8(&line[start..]).is_err_and(|it| it.error_len().is_none());
    if is_cut { start } else { line.len() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        read_lines(text, |line| lines.push(line.to_owned())).unwrap();
        lines
    }

    #[test]
    fn each_line_is_given_without_its_line_feed_and_the_last_without_one() {
        assert_eq!(lines(b"one\n\n two \ncut"), ["one", "", " two ", "cut"]);
        assert_eq!(lines(b"\xffx\n"), ["\u{fffd}x"]);
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_between_two_characters() {
        let long = format!("{}\u{20ac}rest\nnext\n", "x".repeat(LINE_BYTES_MAX - 2));
        let found = lines(long.as_bytes());
        assert_eq!(found[0].len(), LINE_BYTES_MAX - 2);
        assert_eq!(found[1..], ["\u{20ac}rest", "next"]);
        let exact = format!("{}\nnext\n", "x".repeat(LINE_BYTES_MAX - 1));
        assert_eq!(lines(exact.as_bytes())[1..], ["next"]);
        let no_text = [0xff].repeat(LINE_BYTES_MAX + 1);
        assert_eq!(lines(&no_text).len(), 2);
    }

    #[test]
    fn the_newest_lines_are_kept_and_the_rest_is_counted() {
        let (mut log, mut seen) = (Log::default(), 0);
        log.push("first");
        assert_eq!(log.find("first", &mut seen).as_deref(), Some("first"));
        assert_eq!(log.find("first", &mut seen), None);
        let line = "x".repeat(LINE_BYTES_MAX - 1);
        for _ in 0..100 {
            log.push(&line);
        }
        log.push("last");
        assert_eq!(log.find("last", &mut seen).as_deref(), Some("last"));
        let text = log.text();
        let (told, kept) = text.split_once('\n').unwrap();
        assert!(kept.len() <= LOG_BYTES_MAX && kept.len() > LOG_BYTES_MAX / 2 - LINE_BYTES_MAX);
        let left_out = 6 + 100 * LINE_BYTES_MAX + 5 - kept.len();
        assert_eq!(told, format!("[{left_out} bytes before this are left out]"));
        assert!(kept.starts_with("xx") && kept.ends_with("x\nlast\n"));
    }
}
