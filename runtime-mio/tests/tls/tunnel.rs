//! TLS for a peer that speaks in plain bytes: what goes in at one end comes out encrypted at the other,
//! with its ends and resets.
#![allow(dead_code)]

use moorline_mio::rustls::pki_types::ServerName;
use moorline_mio::rustls::{
    ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection,
};
use socket2::SockRef;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Of each socket of a tunnel, in each direction.
const BUFFER: usize = 256 * 1024;

/// A listener for plain peers whose bytes go by TLS to another address. It is gone when dropped.
pub struct Tunnel {
    pub address: SocketAddr,
    closed: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

/// The side of TLS that the tunnel takes.
#[derive(Clone)]
pub enum Side {
    Client(Arc<ClientConfig>),
    Server(Arc<ServerConfig>),
}

impl Side {
    fn session(&self) -> Connection {
        match self {
            Self::Client(config) => {
                let name = ServerName::try_from("localhost").unwrap();
                ClientConnection::new(config.clone(), name).unwrap().into()
            }
            Self::Server(config) => ServerConnection::new(config.clone()).unwrap().into(),
        }
    }
}

impl Tunnel {
    /// Of plain clients to a TLS server.
    pub fn to_server(target: SocketAddr, config: Arc<ClientConfig>) -> Self {
        Self::new(target, Side::Client(config), |plain, secure| (plain, secure))
    }

    /// Of TLS clients to a plain server.
    pub fn to_plain(target: SocketAddr, config: Arc<ServerConfig>) -> Self {
        Self::new(target, Side::Server(config), |accepted, dialled| (dialled, accepted))
    }

    fn new(
        target: SocketAddr,
        side: Side,
        ends: fn(TcpStream, TcpStream) -> (TcpStream, TcpStream),
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let closed = Arc::new(AtomicBool::new(false));
        let accepting = std::thread::spawn({
            let closed = closed.clone();
            move || {
                for accepted in listener.incoming() {
                    if closed.load(Ordering::Acquire) {
                        return;
                    }
                    let Ok(accepted) = accepted else { continue };
                    let Ok(dialled) = TcpStream::connect(target) else { continue };
                    let (plain, secure) = ends(accepted, dialled);
                    let session = side.session();
                    std::thread::spawn(move || run(session, &plain, secure));
                }
            }
        });
        Self { address, closed, accepting: Some(accepting) }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Release);
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

/// What the threads of the two directions share.
struct Secure {
    session: Mutex<Connection>,
    /// Taken before the session's lock is given back, so that records leave in their order.
    writing: Mutex<TcpStream>,
}

fn run(mut session: Connection, plain: &TcpStream, mut secure: TcpStream) {
    for socket in [plain, &secure] {
        socket.set_nodelay(true).unwrap();
        // What the peer does not read must not all disappear in the kernel's buffers on the way.
        let socket = SockRef::from(socket);
        socket.set_recv_buffer_size(BUFFER).unwrap();
        socket.set_send_buffer_size(BUFFER).unwrap();
    }
    while session.is_handshaking() {
        if session.complete_io(&mut secure).is_err() {
            reset(plain);
            return;
        }
    }
    let shared = Arc::new(Secure {
        session: Mutex::new(session),
        writing: Mutex::new(secure.try_clone().unwrap()),
    });
    let back = {
        let (shared, secure, plain) =
            (shared.clone(), secure.try_clone().unwrap(), plain.try_clone().unwrap());
        std::thread::spawn(move || decrypt(&shared, secure, plain))
    };
    if encrypt(&shared, plain).is_err() {
        reset(plain);
        reset(&secure);
    }
    let _ = back.join();
}

fn encrypt(shared: &Secure, mut plain: &TcpStream) -> io::Result<()> {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let count = plain.read(&mut bytes)?;
        shared.say(|session| match count {
            0 => {
                session.send_close_notify();
                Ok(())
            }
            count => session.writer().write_all(&bytes[..count]),
        })?;
        if count == 0 {
            return shared.writing.lock().unwrap().shutdown(Shutdown::Write);
        }
    }
}

fn decrypt(shared: &Secure, mut secure: TcpStream, mut plain: TcpStream) {
    let mut bytes = vec![0; 16 * 1024];
    let mut out = Vec::new();
    // What came together with the handshake's end is there already.
    let mut count = 0;
    loop {
        let mut ended = false;
        let read = shared.say(|session| {
            let mut rest = &bytes[..count];
            loop {
                if !rest.is_empty() {
                    session.read_tls(&mut rest)?;
                }
                let state = session.process_new_packets().map_err(io::Error::other)?;
                let start = out.len();
                out.resize(start + state.plaintext_bytes_to_read(), 0);
                session.reader().read_exact(&mut out[start..])?;
                ended |= state.peer_has_closed();
                if rest.is_empty() {
                    return Ok(());
                }
            }
        });
        if read.is_err() || plain.write_all(&out).is_err() {
            reset(&secure);
            return reset(&plain);
        }
        out.clear();
        if ended {
            let _ = plain.shutdown(Shutdown::Write);
            return;
        }
        count = match secure.read(&mut bytes) {
            Ok(count @ 1..) => count,
            // Without a close_notify before it, which returns above.
            _ => return reset(&plain),
        };
    }
}

impl Secure {
    /// Does something with the session and writes what it has to say.
    fn say(&self, act: impl FnOnce(&mut Connection) -> io::Result<()>) -> io::Result<()> {
        let mut session = self.session.lock().unwrap();
        act(&mut session)?;
        let mut records = Vec::new();
        while session.wants_write() {
            session.write_tls(&mut records)?;
        }
        if records.is_empty() {
            return Ok(());
        }
        let mut writing = self.writing.lock().unwrap();
        drop(session);
        writing.write_all(&records)
    }
}

/// The socket ends by a reset once nobody has it any more, and now as well as it can.
fn reset(socket: &TcpStream) {
    let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
    let _ = socket.shutdown(Shutdown::Both);
}
