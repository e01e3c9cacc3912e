//! Who gets in while one address, or many, fill the places of TLS handshakes.

#[path = "tls/support.rs"]
mod support;

use moorline_core::{Event, Outbox};
use moorline_mio::rustls::ClientConnection;
use moorline_mio::rustls::pki_types::ServerName;
use moorline_mio::{ConnId, Connections, Handler, Peer, ServerOptions, TlsFailure, TlsOptions};
use socket2::{Domain, Socket, Type};
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use support::certificates::Authority;
use support::{Echo, PATIENCE, Running, assert_ended};

/// Steps of handshakes that a loop makes in a turn, at most.
const STEPS: usize = 16;

/// Places for handshakes: so few that an address may have one of them before it loses its own.
const PLACES: usize = 8;

/// Tells how handshakes ended: whose, and why not well.
struct Told(Sender<(SocketAddr, Option<&'static str>)>);

impl Told {
    fn tell(&self, peer: Option<Peer>, failure: Option<&'static str>) {
        let Some(Peer::Network(peer)) = peer else { panic!("{peer:?}") };
        let _ = self.0.send((peer, failure));
    }
}

impl Handler for Told {
    fn opened(&mut self, _now: Instant, _id: ConnId, peer: Peer) {
        self.tell(Some(peer), None);
    }

    fn handshake_failed(
        &mut self,
        _now: Instant,
        _id: ConnId,
        peer: Option<Peer>,
        failure: &TlsFailure,
    ) {
        self.tell(peer, Some(failure.reason()));
    }

    fn event(&mut self, now: Instant, id: ConnId, event: Event<'_>, outbox: &mut Outbox) {
        Echo.event(now, id, event, outbox);
    }
}

struct Gate {
    server: Running,
    told: Receiver<(SocketAddr, Option<&'static str>)>,
}

impl Gate {
    fn new(authority: &Authority) -> Self {
        Self::with(authority, PLACES)
    }

    fn with(authority: &Authority, places: usize) -> Self {
        let mut tls = TlsOptions::new(Arc::new(authority.issue().server()));
        tls.handshakes = places;
        // Nobody is to leave by the clock.
        tls.handshake_within = 10 * PATIENCE;
        let options = ServerOptions { tls: Some(tls), ..ServerOptions::default() };
        let (sender, told) = mpsc::channel();
        Self { server: Running::start(options, move || Told(sender.clone())), told }
    }

    /// A socket of one of this machine's own addresses.
    fn tcp(&self, host: u8) -> TcpStream {
        tcp(self.server.address, host)
    }

    fn next(&self) -> (SocketAddr, Option<&'static str>) {
        self.told.recv_timeout(PATIENCE).unwrap()
    }
}

fn tcp(address: SocketAddr, host: u8) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, host], 0)).into()).unwrap();
    socket.connect(&address.into()).unwrap();
    let socket = TcpStream::from(socket);
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// The first message of a client.
fn hello(authority: &Authority) -> (ClientConnection, Vec<u8>) {
    let mut session = client(authority);
    let mut hello = Vec::new();
    session.write_tls(&mut hello).unwrap();
    (session, hello)
}

/// A client that has said nothing yet.
fn client(authority: &Authority) -> ClientConnection {
    let name = ServerName::try_from("localhost").unwrap();
    ClientConnection::new(Arc::new(authority.client()), name).unwrap()
}

/// Sockets of the first address that say nothing.
struct Flood<'a> {
    gate: &'a Gate,
    /// Those that have a place, oldest first.
    silent: Vec<TcpStream>,
}

impl Flood<'_> {
    /// One more, for which the oldest of them has to go.
    fn go_on(&mut self) {
        self.silent.push(self.gate.tcp(1));
        let oldest = self.silent.remove(0);
        let told = self.gate.next();
        assert_eq!(told, (oldest.local_addr().unwrap(), Some("crowded")));
    }

    /// Writes a byte, and floods, and writes the next one.
    fn write_slowly(&mut self, socket: &mut TcpStream, bytes: &[u8]) {
        for byte in bytes {
            socket.write_all(&[*byte]).unwrap();
            self.go_on();
        }
    }
}

#[test]
fn an_address_that_floods_crowds_out_its_own_handshakes_and_a_slow_one_gets_in() {
    let authority = Authority::new();
    let gate = Gate::new(&authority);
    let (mut session, hello) = hello(&authority);
    let mut slow = gate.tcp(2);
    let silent = (1..PLACES).map(|_| gate.tcp(1)).collect();
    let mut flood = Flood { gate: &gate, silent };
    flood.write_slowly(&mut slow, &hello);
    while session.is_handshaking() {
        session.read_tls(&mut slow).unwrap();
        session.process_new_packets().unwrap();
    }
    let mut finished = Vec::new();
    session.write_tls(&mut finished).unwrap();
    flood.write_slowly(&mut slow, &finished[..finished.len() - 1]);
    slow.write_all(&finished[finished.len() - 1..]).unwrap();
    assert_eq!(gate.next(), (slow.local_addr().unwrap(), None));
    // Its place is free: of the others nobody has to go for the next one, but for the one after it.
    flood.silent.push(gate.tcp(1));
    flood.go_on();
}

#[test]
fn many_addresses_that_flood_do_not_cut_off_one_with_several_good_handshakes() {
    let authority = Authority::new();
    // Two of them are a share.
    let gate = Gate::with(&authority, 32);
    let mut silent: Vec<_> = (100..130).map(|host| gate.tcp(host)).collect();
    let mut good: Vec<_> = (0..2).map(|_| (gate.tcp(2), client(&authority))).collect();
    // All of them again, from as many other addresses.
    for (host, lost) in (130..160).zip(std::mem::take(&mut silent)) {
        silent.push(gate.tcp(host));
        assert_eq!(gate.next(), (lost.local_addr().unwrap(), Some("crowded")));
    }
    for (socket, session) in &mut good {
        session.complete_io(socket).unwrap();
        assert_eq!(gate.next(), (socket.local_addr().unwrap(), None));
    }
}

#[test]
fn an_address_alone_has_all_places_and_shares_them_once_another_comes() {
    let gate = Gate::new(&Authority::new());
    let many: Vec<_> = (0..PLACES).map(|_| gate.tcp(1)).collect();
    let mut others = Vec::new();
    // Half of them each: then the one that comes ends its own.
    for lost in many.iter().take(PLACES / 2) {
        others.push(gate.tcp(2));
        assert_eq!(gate.next(), (lost.local_addr().unwrap(), Some("crowded")));
    }
    let _one_more = gate.tcp(2);
    assert_eq!(gate.next(), (others[0].local_addr().unwrap(), Some("crowded")));
    assert_ended(&mut others[0]);
}

/// A loop whose turns are told, and wait until they may go on.
struct Held {
    begun: Sender<()>,
    go_on: Receiver<()>,
}

impl Handler for Held {
    fn turn(&mut self, _now: Instant, _connections: &mut Connections<'_>) {
        let _ = self.begun.send(());
        let _ = self.go_on.recv();
    }

    fn event(&mut self, _now: Instant, _id: ConnId, _event: Event<'_>, _outbox: &mut Outbox) {}
}

#[test]
fn a_hello_has_its_turn_however_many_come_after_it() {
    let authority = Authority::new();
    let tls = TlsOptions::new(Arc::new(authority.issue().server()));
    let options = ServerOptions { tls: Some(tls), ..ServerOptions::default() };
    let (begun, turns) = mpsc::channel();
    let (go_on, held) = mpsc::channel();
    let handler = Mutex::new(Some(Held { begun, go_on: held }));
    let server = Running::start(options, move || handler.lock().unwrap().take().unwrap());
    // Dropped before the server, which then goes on by itself.
    let go_on = go_on;
    let hello = hello(&authority).1;
    let say_hello = |host| {
        let mut socket = tcp(server.address, host);
        socket.write_all(&hello).unwrap();
        socket
    };
    let mut flood: Vec<_> = (0..STEPS).map(|_| say_hello(1)).collect();
    let good = say_hello(2);
    good.set_nonblocking(true).unwrap();
    // They are accepted in a turn, read in the next one, and those for which there is no time then in the one
    // after it.
    for _ in 0..4 {
        turns.recv_timeout(PATIENCE).unwrap();
        flood.extend((0..STEPS).map(|_| say_hello(1)));
        go_on.send(()).unwrap();
    }
    turns.recv_timeout(PATIENCE).unwrap();
    assert_ne!(good.peek(&mut [0; 5]).expect("the server's hello"), 0);
    drop(go_on);
}
