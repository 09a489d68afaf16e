//! Where the body of a request ends, and its bytes in between (RFC 9112, 6 and 7).
//!
//! Invariant: any cut of the received bytes gives the same body. Bytes that are needed together stay in the
//! input until all of them are there.

use crate::local::body::ReadError;
use crate::local::head::Head;

/// The longest line with a chunk's size, in bytes. A request with a longer one is malformed. Extensions of
/// chunks are ignored.
const SIZE_LINE_MAX: usize = 4 * 1024;

/// Size limit of all trailers of a body, in bytes. A request with more is malformed. Trailers are ignored.
const TRAILERS_MAX: usize = 32 * 1024;

/// The rest of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// This many bytes.
    Length(u64),
    Chunked(Chunks),
}

/// The place in a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunks {
    /// Before the line with the size of a chunk.
    Size,
    /// In a chunk with this many bytes left.
    Data(u64),
    /// Before the line end of a chunk.
    DataEnd,
    /// Before a trailer, or the empty line after the trailers. This many bytes may follow.
    Trailers(usize),
}

/// The next piece of a body.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    Bytes(&'a [u8]),
    /// The input has no further piece.
    Missing,
    End,
}

impl Framing {
    /// The framing that a head declares.
    ///
    /// # Errors
    /// The end of the body cannot be found.
    pub fn of(head: &Head) -> Result<Self, FramingError> {
        if head.has("Transfer-Encoding") {
            let mut codings = head.members("Transfer-Encoding");
            return match (codings.next(), codings.next()) {
                (Some(only), None) if only.eq_ignore_ascii_case(b"chunked") => {
                    Ok(Self::Chunked(Chunks::Size))
                }
                _ => Err(FramingError::UnknownCoding),
            };
        }
        if !head.has("Content-Length") {
            return Ok(Self::Length(0));
        }
        let mut lengths = head.members("Content-Length");
        let length = lengths.next().and_then(length_of).ok_or(FramingError::Length)?;
        let agree = lengths.all(|it| length_of(it) == Some(length));
        agree.then_some(Self::Length(length)).ok_or(FramingError::LengthsDiffer)
    }

    /// How many bytes follow. `None` if that is unknown.
    pub fn length(self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(left),
            Self::Chunked(_) => None,
        }
    }

    /// How many bytes follow at most, as far as a size can tell.
    pub fn left_max(self) -> usize {
        self.length().map_or(usize::MAX, |it| usize::try_from(it).unwrap_or(usize::MAX))
    }

    /// Takes the next piece from the input.
    ///
    /// # Errors
    /// The chunks are malformed. Their end cannot be found.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Piece<'a>, ReadError> {
        match self {
            Self::Length(0) => Ok(Piece::End),
            Self::Length(left) => Ok(take(left, input)),
            Self::Chunked(chunks) => chunks.next(input),
        }
    }
}

/// Why the end of a body cannot be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramingError {
    UnknownCoding,
    Length,
    LengthsDiffer,
}

impl Chunks {
    fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Piece<'a>, ReadError> {
        loop {
            match self {
                Self::Size => match size_of(input)? {
                    None => return Ok(Piece::Missing),
                    Some(0) => *self = Self::Trailers(TRAILERS_MAX),
                    Some(size) => *self = Self::Data(size),
                },
                Self::Data(0) => *self = Self::DataEnd,
                Self::Data(left) => return Ok(take(left, input)),
                Self::DataEnd => match input.split_first_chunk::<2>() {
                    None => return Ok(Piece::Missing),
                    Some((b"\r\n", rest)) => {
                        *input = rest;
                        *self = Self::Size;
                    }
                    Some(_) => return Err(malformed("a chunk that is longer than its size")),
                },
                Self::Trailers(left) => {
                    let line = line_of(input);
                    let length = line.map_or(input.len(), <[u8]>::len);
                    *left = match (line, left.checked_sub(length)) {
                        (_, None) => return Err(malformed("trailers of more than 32 KiB")),
                        (None, Some(_)) => return Ok(Piece::Missing),
                        (Some(b"\r\n" | b"\n"), _) => return Ok(Piece::End),
                        (Some(_), Some(rest)) => rest,
                    };
                }
            }
        }
    }
}

fn malformed(why: &'static str) -> ReadError {
    ReadError::Malformed(why)
}

/// Takes at most `left` bytes from the input.
fn take<'a>(left: &mut u64, input: &mut &'a [u8]) -> Piece<'a> {
    if input.is_empty() {
        return Piece::Missing;
    }
    let most = usize::try_from(*left).unwrap_or(usize::MAX);
    let (bytes, rest) = input.split_at(most.min(input.len()));
    *left -= bytes.len() as u64;
    *input = rest;
    Piece::Bytes(bytes)
}

/// Takes the line with a chunk's size. `None` if the line is incomplete.
fn size_of(input: &mut &[u8]) -> Result<Option<u64>, ReadError> {
    let invalid = malformed("a chunk without a valid size");
    // The parser takes an empty line for the size 0.
    if input.first().is_some_and(|it| !it.is_ascii_hexdigit()) {
        return Err(invalid);
    }
    match httparse::parse_chunk_size(input).map_err(|_| invalid)? {
        httparse::Status::Complete((length, size)) if length <= SIZE_LINE_MAX => {
            *input = &input[length..];
            Ok(Some(size))
        }
        httparse::Status::Partial if input.len() <= SIZE_LINE_MAX => Ok(None),
        _ => Err(malformed("a line of more than 4 KiB before a chunk")),
    }
}

/// Takes a line, and returns it with its end. `None` if the line is incomplete.
fn line_of<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = input.iter().position(|it| *it == b'\n')?;
    let (line, rest) = input.split_at(end + 1);
    *input = rest;
    Some(line)
}

/// A number of bytes. One that no memory could hold is as large as possible.
fn length_of(digits: &[u8]) -> Option<u64> {
    let add = |sum: u64, digit: u8| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        Some(sum.saturating_mul(10).saturating_add(digit))
    };
    digits.iter().try_fold(0, |sum, digit| add(sum, *digit))
}
