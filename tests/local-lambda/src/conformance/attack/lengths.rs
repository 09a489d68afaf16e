//! Attacks with requests whose bytes contradict their framing.

use std::io::Write;
use std::time::Duration;

use super::attack;
use super::attack_run::run_attack;
use super::healthy;
use super::volley::{PATIENCE, volley, volleys};
use crate::conformance::fixture::pass;
use crate::conformance::raw_requests::{Then, chunked, head, report, send_raw};
use crate::conformance::{Scenario, Speech};

/// The buffer of the smallest function, in bytes: 1/32 of 128 MB.
const BUFFER: usize = 4 * 1024 * 1024;

pub const ALL: &[Scenario] = &[
    attack(
        "attack-lying-lengths",
        "Lengths that are too long, too short, negative, no number, repeated, or together with \
         chunks, each 100 times, do no harm.",
        "RFC 9112, 6.3",
        |it| run_attack(it, |port| volleys(port, 100, &lies(it.speech), Then::Wait)),
    ),
    attack(
        "attack-lengths-beyond-memory",
        "300 requests that declare a length beyond any memory and end early do no harm.",
        "tiny-http/tiny-http v0.12.0, src/util/equal_reader.rs",
        |it| run_attack(it, |port| volleys(port, 100, &beyond_memory(it.speech), Then::Close)),
    ),
    attack(
        "attack-broken-chunks",
        "Chunks without a size, with a size beyond any memory, without line ends, or without a \
             last chunk, each 100 times, do no harm.",
        "RFC 9112, 7.1",
        |it| run_attack(it, |port| volleys(port, 100, &broken_chunks(it.speech), Then::Wait)),
    ),
    attack(
        "attack-body-sizes",
        "Bodies of no byte, of one byte, and of about the largest accepted size, each 10 times, do \
         no harm.",
        "RFC 9110, 15.5.14",
        |it| {
            run_attack(it, |port| {
                volleys(port, 10, &sizes(it.speech, largest(it.speech, port)), Then::Wait)
            })
        },
    ),
    attack(
        "attack-huge-bodies",
        "Five bodies of 100 MiB, with a declared length and in chunks, do no harm.",
        "RFC 9110, 15.5.14",
        |it| run_attack(it, |port| huge_bodies(it.speech, port)),
    ),
    attack(
        "attack-expectations",
        "100 clients that wait for a 100 (Continue) and never send their bodies do no harm.",
        "RFC 9110, 10.1.1",
        |it| {
            let head = head(it.speech, "Expect: 100-continue\r\nContent-Length: 5000\r\n");
            run_attack(it, move |port| volley(port, 100, &head, Then::Wait))
        },
    ),
];

fn lies(speech: Speech) -> Vec<Vec<u8>> {
    let bodies = ["Content-Length: 5\r\n", "Content-Length: 1\r\n", "Content-Length: -1\r\n"];
    let more = [
        "Content-Length: ten\r\n",
        "Content-Length: 2\r\nContent-Length: 3\r\n",
        "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 0x2\r\n",
        "Content-Length: +2\r\n",
        "Content-Length: 2, 2\r\n",
        "Content-Length: 5000\r\n",
    ];
    let told = |headers: &&str| [head(speech, headers), speech.nothing().into()].concat();
    bodies.iter().chain(&more).map(told).collect()
}

fn beyond_memory(speech: Speech) -> Vec<Vec<u8>> {
    let told = |length: &str| {
        [head(speech, &format!("Content-Length: {length}\r\n")), b"[1".to_vec()].concat()
    };
    ["200000000", "9223372036854775807", "18446744073709551615"].map(told).into()
}

fn broken_chunks(speech: Speech) -> Vec<Vec<u8>> {
    [
        "zz\r\n[1]\r\n0\r\n\r\n",
        "ffffffffffffffff\r\n[1",
        "-1\r\n[1]\r\n0\r\n\r\n",
        "2[]0\r\n\r\n",
        "2\r\n[]",
        "2;a=b\r\n[]\r\n",
        "\r\n\r\n",
        "3\r\n[]",
    ]
    .map(|body| chunked(speech, body))
    .into()
}

fn sized(speech: Speech, bytes: usize) -> Vec<u8> {
    report(speech, "", &speech.sized(bytes))
}

fn sizes(speech: Speech, largest: usize) -> Vec<Vec<u8>> {
    [0, 1, largest - 1, largest, largest + 1].map(|bytes| sized(speech, bytes)).into()
}

/// The largest body that the extension accepts as to its size, up to twice the buffer of the smallest function.
fn largest(speech: Speech, port: u16) -> usize {
    // An OTLP receiver may also answer 413 while its buffer is full, but not for long.
    const LOOKS_EACH: Duration = Duration::from_millis(50);
    let tries = if speech == Speech::Otlp { 10 } else { 1 };
    let (mut taken, mut refused) = (1, 2 * BUFFER);
    while refused - taken > 1 {
        let bytes = usize::midpoint(taken, refused);
        let mut answers = (0..tries).map(|nth| {
            pass(if nth == 0 { Duration::ZERO } else { LOOKS_EACH });
            healthy::status(port, &sized(speech, bytes))
        });
        match answers.find(|answer| !matches!(answer, Ok(413))) {
            None => refused = bytes,
            Some(Ok(429) | Err(_)) => pass(PATIENCE), // the buffer has no room now
            Some(Ok(_)) => taken = bytes,
        }
    }
    taken
}

fn huge_bodies(speech: Speech, port: u16) -> usize {
    const WHOLE: usize = 100 * 1024 * 1024;
    let piece = "x".repeat(1024 * 1024);
    let chunk = format!("{:x}\r\n{piece}\r\n", piece.len());
    let told = head(speech, &format!("Content-Length: {WHOLE}\r\n"));
    let chunked = head(speech, "Transfer-Encoding: chunked\r\n");
    let huge = [(&told, &piece), (&chunked, &chunk), (&told, &piece), (&chunked, &chunk)];
    let send_raw = |(head, piece): &(&Vec<u8>, &String)| {
        let Some(mut stream) = send_raw(port, head, PATIENCE) else { return false };
        for _ in 0..WHOLE / (1024 * 1024) {
            if stream.write_all(piece.as_bytes()).is_err() {
                break;
            }
        }
        Then::Wait.end(stream, PATIENCE);
        true
    };
    huge.iter().chain(&huge[..1]).filter(|it| send_raw(it)).count()
}
