//! The body of one request, assembled from parts of several reports without copying.

use std::io::{self, Read};

/// Bytes that are read once. To read them again, clone an unread value.
#[derive(Clone, Debug)]
pub struct Parts<'a> {
    /// The parts. Those before `at` are empty, because they are read.
    rest: Vec<&'a [u8]>,
    at: usize,
    length: usize,
}

impl<'a> Parts<'a> {
    pub fn of(parts: Vec<&'a [u8]>) -> Self {
        Self { length: parts.iter().map(|part| part.len()).sum(), rest: parts, at: 0 }
    }

    /// The length of all parts, read or not.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Whether no byte is read yet.
    pub fn is_untouched(&self) -> bool {
        self.rest.iter().map(|part| part.len()).sum::<usize>() == self.length
    }
}

impl Read for Parts<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut read = 0;
        while let Some(part) = self.rest.get_mut(self.at) {
            read += part.read(&mut buffer[read..])?;
            if !part.is_empty() {
                break;
            }
            self.at += 1;
        }
        Ok(read)
    }
}
