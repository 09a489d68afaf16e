//! How long an agent waits for the answer to a report, and how many reports are answered in a second.

use std::io;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use super::contender::Contender;
use super::figure::{microseconds, number};
use super::invocations;
use super::samples::{Samples, percentile};
use super::size::Size;
use super::started::{Over, Started};

/// Posts of each kind. Their 2.4 MB fit into the buffer of this repository's extension at 128 MB, even with
/// overhead and with a part for another protocol.
const POSTS: usize = 800;
const CONNECTIONS: usize = 20;
/// Posts that do not count, because they make the server create connections, buffers and threads.
const WARM_UP: usize = 20;

pub fn measure(contender: &Contender, size: Size) -> io::Result<Samples> {
    let mut samples = Samples::default();
    let Some(started) = Started::start(contender, size, Over::Tcp)? else { return Ok(samples) };
    started.notes(&mut samples);
    invocations::invoke(&started, invocations::WARM_UP, None)?;
    if started.agent().is_some() {
        let mut waited = waited_one_by_one(&started)?;
        waited.sort_unstable();
        for (figure, per_mille) in [("post_p50", 500), ("post_p99", 990), ("post_p999", 999)] {
            samples.add(figure, microseconds(percentile(&waited, per_mille)));
        }
        started.settled_cpu();
        let took = all_at_once(&started)?;
        let posts = u32::try_from(POSTS).expect("a constant");
        samples.add("posts", f64::from(posts) / took.as_secs_f64());
        samples.add("load_peak", number(started.footprint().peak_kb));
    }
    started.shut_down();
    Ok(samples)
}

fn waited_one_by_one(started: &Started) -> io::Result<Vec<Duration>> {
    let mut agent = started.agent().ok_or_else(gone)?;
    for _ in 0..WARM_UP {
        agent.post()?;
    }
    (0..POSTS).map(|_| agent.post()).collect()
}

fn all_at_once(started: &Started) -> io::Result<Duration> {
    let ready = Barrier::new(CONNECTIONS);
    let mut agents = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut agent = started.agent().ok_or_else(gone)?;
        agent.post()?;
        agents.push(agent);
    }
    thread::scope(|scope| {
        let posting: Vec<_> = agents
            .into_iter()
            .map(|mut agent| {
                let ready = &ready;
                scope.spawn(move || {
                    ready.wait();
                    let began = Instant::now();
                    (0..POSTS / CONNECTIONS).try_for_each(|_| agent.post().map(drop))?;
                    Ok((began, Instant::now()))
                })
            })
            .collect();
        let spans = posting.into_iter().map(|thread| thread.join().map_err(|_| gone())?);
        let spans: Vec<(Instant, Instant)> = spans.collect::<io::Result<_>>()?;
        let (begins, ends): (Vec<_>, Vec<_>) = spans.into_iter().unzip();
        let whole = ends.into_iter().max().zip(begins.into_iter().min());
        whole.map(|(end, begin)| end - begin).ok_or_else(gone)
    })
}

fn gone() -> io::Error {
    io::Error::other("the extension takes reports no longer")
}
