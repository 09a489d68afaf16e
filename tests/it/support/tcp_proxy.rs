//! Carries bytes between the extension and a remote, and holds them at a place that a test chooses: in
//! encrypted bytes, or in the middle of an answer.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;

use crate::support::fixture::{pass, spawn};

/// The pause between two pieces that trickle.
const TRICKLES_EVERY: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Towards {
    Client,
    Remote,
}

/// What happens to a connection after its bytes were held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    GoesOn,
    /// No more bytes pass in this direction.
    Hangs,
    Resets,
    /// Bytes pass one by one, so that the transfer never ends.
    Trickles,
}

#[derive(Clone)]
pub struct TcpProxy {
    pub port: u16,
    holds: Arc<Mutex<Vec<Hold>>>,
    /// Dropped with the proxy's last owner, which ends the connections that hang.
    _open: Arc<mpsc::Sender<()>>,
}

struct Hold {
    towards: Towards,
    /// How many more bytes pass before the hold.
    after: usize,
    action: Box<dyn FnOnce() -> Then + Send>,
}

/// One direction of one connection.
struct Pump {
    towards: Towards,
    from: Arc<TcpStream>,
    to: Arc<TcpStream>,
    holds: Arc<Mutex<Vec<Hold>>>,
}

impl TcpProxy {
    /// A relay to this port of this machine.
    pub fn to(remote: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let holds = Arc::new(Mutex::new(Vec::new()));
        let (open, is_open) = mpsc::channel();
        let (serving, is_open) = (Arc::clone(&holds), Arc::new(Mutex::new(is_open)));
        spawn(move || {
            for client in listener.incoming() {
                let client = Arc::new(client.unwrap());
                // The remote may have ended with the test.
                let Ok(server) = TcpStream::connect(("127.0.0.1", remote)) else { return };
                let server = Arc::new(server);
                for (towards, from, to) in
                    [(Towards::Client, &server, &client), (Towards::Remote, &client, &server)]
                {
                    let (from, to) = (Arc::clone(from), Arc::clone(to));
                    let (holds, is_open) = (Arc::clone(&serving), Arc::clone(&is_open));
                    spawn(move || Pump { towards, from, to, holds }.run(&is_open));
                }
            }
        });
        Self { port, holds, _open: Arc::new(open) }
    }

    /// Runs the action after this many more bytes in this direction, on the thread that carries them.
    pub fn hold(
        &self,
        towards: Towards,
        after: usize,
        action: impl FnOnce() -> Then + Send + 'static,
    ) {
        let action = Box::new(action);
        self.holds.lock().unwrap().push(Hold { towards, after, action });
    }
}

impl Pump {
    fn run(self, is_open: &Mutex<mpsc::Receiver<()>>) {
        let mut buffer = [0; 16 * 1024];
        let mut piece = usize::MAX;
        while let Ok(count @ 1..) = (&*self.from).read(&mut buffer) {
            let mut bytes = &buffer[..count];
            while let Some(Hold { after, action, .. }) = self.due(bytes.len()) {
                let (passes, held) = bytes.split_at(after);
                if (&*self.to).write_all(passes).is_err() {
                    break;
                }
                bytes = held;
                match action() {
                    Then::GoesOn => {}
                    Then::Hangs => {
                        // This waits until the proxy is dropped.
                        let _ = is_open.lock().unwrap().recv();
                        return;
                    }
                    Then::Resets => return self.reset(),
                    Then::Trickles if self.towards == Towards::Client => piece = 1,
                    Then::Trickles => piece = 1_000,
                }
            }
            if self.pass(bytes, piece).is_err() {
                break;
            }
        }
        let _ = self.to.shutdown(Shutdown::Write); // it may be closed already
        let _ = self.from.shutdown(Shutdown::Read);
    }

    /// The hold at a position within the next bytes.
    fn due(&self, count: usize) -> Option<Hold> {
        let mut holds = self.holds.lock().unwrap();
        let index = holds.iter().position(|it| it.towards == self.towards)?;
        if holds[index].after < count {
            return Some(holds.remove(index));
        }
        holds[index].after -= count;
        None
    }

    fn pass(&self, bytes: &[u8], piece: usize) -> std::io::Result<()> {
        for bytes in bytes.chunks(piece) {
            (&*self.to).write_all(bytes)?;
            if piece < usize::MAX {
                pass(TRICKLES_EVERY);
            }
        }
        Ok(())
    }

    /// Resets the connection. The drop of a socket with a linger time of zero does that.
    fn reset(&self) {
        for stream in [&self.from, &self.to] {
            set_socket_linger(&**stream, Some(Duration::ZERO)).unwrap();
            // Wakes the other direction. The peer notices nothing.
            let _ = stream.shutdown(Shutdown::Read);
        }
    }
}
