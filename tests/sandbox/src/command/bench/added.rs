//! What an extension adds to invocations, whatever its remote does.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use sandbox::agent::Family;
use sandbox::conformance::filled_in;
use sandbox::{Answer, Invocation, Lambda, Remote, Setup, Status, User, free_port};

use super::contender::Contender;
use super::samples::Samples;
use super::size::Size;
use crate::command::code::built_in;
use crate::command::span::ms;

/// As in [`super::invocations`].
const WARM_UP: usize = 12;
const INVOCATIONS: usize = 20;
/// Events of the built-in function.
const REPORTING: &str = "{}";
const SILENT: &str = r#"{"reports":0}"#;
/// Of the function: what an extension holds up shows in full.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How far away the remote is, and the figures of that.
const REMOTES: [(Away, &str, &str); 5] = [
    (Away::Milliseconds(0), "wait_0", "billed_0"),
    (Away::Milliseconds(4), "wait_4", "billed_4"),
    (Away::Milliseconds(50), "wait_50", "billed_50"),
    (Away::Milliseconds(200), "wait_200", "billed_200"),
    (Away::Dead, "wait_dead", "billed_dead"),
];

#[derive(Clone, Copy)]
enum Away {
    Milliseconds(u64),
    /// Refuses connections.
    Dead,
}

pub fn measure(contender: &Contender, size: Size) -> io::Result<Samples> {
    let mut samples = Samples::default();
    let mut silent_too = true;
    for (away, wait, billed) in REMOTES {
        let scene = Scene::start(contender, size, remote(away))?;
        if silent_too {
            silent_too = false;
            scene.measure(SILENT, ["silent_wait", "silent_billed"], &mut samples)?;
        }
        if !scene.takes_reports() {
            break;
        }
        scene.measure(REPORTING, [wait, billed], &mut samples)?;
    }
    Ok(samples)
}

fn remote(away: Away) -> Remote {
    let remote = Remote::start();
    match away {
        Away::Milliseconds(time) => {
            remote.answer_with(move |_| Answer::ok().after(Duration::from_millis(time)));
        }
        Away::Dead => remote.go_down(),
    }
    remote
}

/// The built-in function, whose agent reports to the extension, in a sandbox.
pub struct Scene {
    pub remote: Remote,
    pub lambda: Lambda,
    name: String,
    port: u16,
}

impl Scene {
    /// # Errors
    ///
    /// When the sandbox can't be had, or init fails.
    pub fn start(contender: &Contender, size: Size, remote: Remote) -> io::Result<Self> {
        let port = free_port();
        let agent = built_in(Family::ThundraPython, vec!["--port".to_owned(), port.to_string()])?;
        let setup = size.of(Setup::new().runtime(agent).timeout(TIMEOUT).user(User::Own));
        let setup = match &contender.path {
            Some(path) => setup.extension(path),
            None => setup,
        };
        let variables = filled_in(&contender.variables, port, &remote.origin(), None);
        let setup = variables.fold(setup, |setup, (name, value)| setup.env(name, &value));
        let lambda = setup.start()?;
        let scene = Self { remote, lambda, name: contender.name.clone(), port };
        if scene.lambda.wait_for_init() { Ok(scene) } else { Err(scene.failed("init")) }
    }

    pub fn takes_reports(&self) -> bool {
        TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))).is_ok()
    }

    /// # Errors
    ///
    /// When it does not succeed.
    pub fn invoke(&self, event: &str) -> io::Result<Invocation> {
        let invocation = self.lambda.invoke(event);
        match invocation.status {
            Status::Success => Ok(invocation),
            _ => Err(self.failed("an invocation")),
        }
    }

    fn measure(
        &self,
        event: &str,
        [wait, billed]: [&str; 2],
        samples: &mut Samples,
    ) -> io::Result<()> {
        for _ in 0..WARM_UP {
            self.invoke(event)?;
        }
        for _ in 0..INVOCATIONS {
            let invocation = self.invoke(event)?;
            samples.add(wait, ms(invocation.reply.latency));
            samples.add(billed, ms(invocation.duration));
        }
        Ok(())
    }

    fn failed(&self, what: &str) -> io::Error {
        let lines: Vec<String> = self.lambda.timeline().iter().map(ToString::to_string).collect();
        io::Error::other(format!("{what} fails beside {}:\n{}", self.name, lines.join("\n")))
    }
}
