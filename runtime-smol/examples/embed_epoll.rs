//! The core in a plain poll loop, without a runtime: an echo server of one thread. `embed_epoll
//! 127.0.0.1:9003`. It has what a loop needs (deadlines, backpressure, the two steps of closing), and
//! what it lacks is named in `runtime-mio`: a wheel for many timers, and edge triggering.

use moorline_core::{Accept, Connection, End, Event, Limits, Turn};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, ErrorKind::WouldBlock, IoSlice, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Instant;

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9003".into());
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    println!("listening on ws://{}/", listener.local_addr()?);
    io::stdout().flush()?;
    let limits = Arc::new(Limits::default());
    let mut buffer = vec![0; 64 * 1024];
    let mut peers: Vec<(TcpStream, Connection)> = Vec::new();
    loop {
        // Look at what each connection wants, and wait for it.
        let mut wake_at: Option<Instant> = None;
        let mut waiting = vec![PollFd::new(&listener, PollFlags::IN)];
        for (stream, connection) in &peers {
            let wants = connection.wants();
            wake_at = [wake_at, wants.wake_at].into_iter().flatten().min();
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, wants.read);
            flags.set(PollFlags::OUT, wants.write);
            waiting.push(PollFd::new(stream, flags));
        }
        let timeout = wake_at.map(|at| at.saturating_duration_since(Instant::now()));
        let timeout = timeout.map(|time| Timespec::try_from(time).expect("deadlines are near"));
        match poll(&mut waiting, timeout.as_ref()) {
            Err(rustix::io::Errno::INTR) => continue,
            result => result?,
        };
        let ready: Vec<_> = waiting.iter().map(PollFd::revents).collect();
        let now = Instant::now();
        // One call for each that is ready, the deadlines, and a write.
        let mut at = 0;
        peers.retain_mut(|(stream, connection)| {
            at += 1;
            if ready[at].intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                match stream.read(&mut buffer) {
                    Err(error) if error.kind() == WouldBlock => {}
                    Ok(0) | Err(_) => echo(connection.handle_eof(now)),
                    Ok(count) => echo(connection.receive(now, &mut buffer[..count])),
                }
            }
            echo(connection.handle_deadline(now));
            if write(now, stream, connection).is_err() {
                return false;
            }
            let end = connection.wants().end;
            if end == End::ShutdownWrite {
                // It fails when the peer is gone, which the next read tells.
                let _ = stream.shutdown(Shutdown::Write);
            }
            end != End::Drop
        });
        if let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(true)?;
            peers.push((stream, Connection::server(limits.clone(), now)));
        }
    }
}

fn echo(mut turn: Turn<'_>) {
    while let Some((event, outbox)) = turn.next_event() {
        let _ = match event {
            Event::Request(head) if head.is_upgrade() => {
                outbox.accept(&Accept::default()).expect("it is an upgrade");
                Ok(())
            }
            Event::Text(text) => outbox.text(text),
            Event::Binary(data) => outbox.binary(data),
            _ => Ok(()),
        };
    }
}

fn write(now: Instant, stream: &mut TcpStream, connection: &mut Connection) -> io::Result<()> {
    if connection.outbox(now).is_empty() {
        return Ok(());
    }
    let mut slices = [IoSlice::new(&[]); 16];
    let filled = connection.outbox(now).slices(&mut slices);
    let written = match stream.write_vectored(&slices[..filled]) {
        Err(error) if error.kind() == WouldBlock => 0,
        result => result?,
    };
    connection.outbox(now).written(now, written);
    Ok(())
}
