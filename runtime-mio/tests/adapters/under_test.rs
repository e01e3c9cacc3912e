//! An adapter under test in either role, with a raw peer at the other end of its connection.

use crate::support::{App, PATIENCE, Peer, Runtime, Server as _, Subject, echo};
use moorline_core::{Accept, Cause, CloseCode, Connection, Event, Limits, Outbox};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Instant;

/// Which end the adapter under test is.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub enum Role {
    Server,
    Client,
}

/// Runs a case with an echo in both roles.
pub fn in_both_roles(limits: &Limits, mut case: impl FnMut(&mut UnderTest)) {
    for role in [Role::Server, Role::Client] {
        let mut it = UnderTest::upgraded(role, limits, echo);
        case(&mut it);
    }
}

/// One connection of an adapter. Its application says how it ended.
pub struct UnderTest {
    pub role: Role,
    pub peer: Peer,
    endings: mpsc::Receiver<Ended>,
    /// A server: stopped when dropped.
    _server: Option<<Subject as Runtime>::Server>,
    /// A client: ends by itself when its connection does.
    client: Option<JoinHandle<()>>,
}

/// What [`Event::Closed`] said: the cause's one word, its close code, its text.
pub type Ended = (&'static str, CloseCode, String);

impl UnderTest {
    /// With the handshake done.
    pub fn upgraded(
        role: Role,
        limits: &Limits,
        app: impl FnMut(Event<'_>, &mut Outbox) + Clone + Send + Sync + 'static,
    ) -> Self {
        let mut it = Self::new(role, limits, app);
        match role {
            Role::Server => it.peer.upgrade(),
            Role::Client => it.accept(limits),
        }
        it
    }

    /// Before the handshake.
    pub fn new(
        role: Role,
        limits: &Limits,
        app: impl FnMut(Event<'_>, &mut Outbox) + Clone + Send + Sync + 'static,
    ) -> Self {
        // It is what a failed assertion is printed with.
        println!("the adapter is the {role:?}");
        let (told, endings) = mpsc::channel();
        let app = move || telling(app.clone(), told.clone());
        let (server, client, peer) = match role {
            Role::Server => {
                let server = Subject::serve(limits.clone().into(), app);
                let peer = Peer::tcp(server.address());
                (Some(server), None, peer)
            }
            Role::Client => {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let address = listener.local_addr().unwrap();
                let limits = limits.clone();
                let client =
                    std::thread::spawn(move || Subject::run_client(address, limits, app()));
                (None, Some(client), Peer::server(listener.accept().unwrap().0))
            }
        };
        Self { role, peer, endings, _server: server, client }
    }

    /// Answers the client's request.
    pub fn accept(&mut self, limits: &Limits) {
        let answer = self.answer(limits);
        self.peer.send_raw(&answer);
    }

    /// Reads the client's request, and gives the 101 answer of a server with these limits.
    pub fn answer(&mut self, limits: &Limits) -> Vec<u8> {
        let mut request = self.peer.read_head().into_bytes();
        let now = Instant::now();
        let mut server = Connection::server(Arc::new(limits.clone()), now);
        let mut turn = server.receive(now, &mut request);
        while let Some((event, outbox)) = turn.next_event() {
            if let Event::Request(_) = event {
                outbox.accept(&Accept::default()).unwrap();
            }
        }
        let mut slices = [std::io::IoSlice::new(&[]); 4];
        let filled = server.outbox(now).slices(&mut slices);
        slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect()
    }

    /// How the connection ended, once it has.
    pub fn ended(&mut self) -> Ended {
        let ended = self.endings.recv_timeout(PATIENCE).expect("an ending");
        assert!(self.endings.try_recv().is_err(), "one ending");
        ended
    }

    /// The peer has sent or read a Close: plays the rest of a clean end, whose first step is the
    /// server's (RFC 6455 section 7.1.1).
    pub fn ends_cleanly(&mut self) {
        if self.role == Role::Client {
            self.peer.stream.shutdown(Shutdown::Write).unwrap();
        }
        assert_eq!(self.peer.read_rest(), b"", "nothing follows a Close");
    }

    /// The peer resets the connection.
    pub fn reset(&mut self) {
        let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
        let other = Peer::tcp(elsewhere.local_addr().unwrap());
        std::mem::replace(&mut self.peer, other).reset();
    }

    /// The connection fails with this code and cause.
    pub fn fails(&mut self, code: u16, cause: &str) {
        let (sent, _) = self.peer.read_close();
        assert_eq!(sent, code);
        // The peer may have more to say; the Close must survive that.
        let _ = self.peer.stream.shutdown(Shutdown::Write);
        assert_eq!(self.peer.read_rest(), b"", "nothing follows a Close");
        let (name, told, _) = self.ended();
        assert_eq!((name, told), (cause, CloseCode(code)));
    }
}

impl Drop for UnderTest {
    fn drop(&mut self) {
        // Ends what the test has left open; a failed test must not wait for anything.
        let _ = self.peer.stream.shutdown(Shutdown::Both);
        if let Some(client) = self.client.take()
            && !std::thread::panicking()
        {
            client.join().unwrap();
        }
    }
}

/// An application that also says how its connection ended.
pub fn telling(
    mut app: impl FnMut(Event<'_>, &mut Outbox) + Send + 'static,
    told: mpsc::Sender<Ended>,
) -> App {
    Box::new(move |event, outbox| {
        if let Event::Closed(cause) = event {
            // Nobody listens any more when the test is over.
            let _ = told.send(ended(cause));
        }
        app(event, outbox);
    })
}

fn ended(cause: Cause<'_>) -> Ended {
    (cause.name(), cause.close_code(), cause.to_string())
}

/// An echo server.
pub fn echo_server(limits: Limits) -> <Subject as Runtime>::Server {
    Subject::serve(limits.into(), || Box::new(echo))
}

/// Limits under which large messages pass.
pub fn roomy() -> Limits {
    Limits { message: 32 << 20, outbox: 64 << 20, ..Limits::default() }
}

/// Bytes that tell when one of them is missing or in the wrong place.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at ^ at >> 8 ^ at >> 16) as u8).collect()
}

/// Whether nobody listens there any more.
pub fn is_refused(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_err()
}
