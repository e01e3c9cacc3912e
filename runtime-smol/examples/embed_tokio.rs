//! The core in a tokio program: an echo server with a task per connection. `embed_tokio
//! 127.0.0.1:9004`.

use moorline_core::{Accept, Connection, End, Event, Limits, Turn};
use socket2::SockRef;
use std::io::{self, ErrorKind::WouldBlock, IoSlice, Write as _};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Instant;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep_until;

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9004".into());
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::bind(address).await?;
        println!("listening on ws://{}/", listener.local_addr()?);
        io::stdout().flush()?;
        let limits = Arc::new(Limits::default());
        loop {
            let (stream, _) = listener.accept().await?;
            let connection = Connection::server(limits.clone(), Instant::now());
            tokio::spawn(drive(stream, connection));
        }
    })
}

/// Flush, look at wants, wait, one call, drain the turn.
async fn drive(stream: TcpStream, mut connection: Connection) -> io::Result<()> {
    // A program with many idle connections would share one among them, as `runtime-smol` does.
    let mut buffer = vec![0; 16 * 1024];
    loop {
        write(&stream, &mut connection)?;
        let wants = connection.wants();
        match wants.end {
            End::Stay => {}
            // It fails when the peer is gone, which the next read tells.
            End::ShutdownWrite => drop(SockRef::from(&stream).shutdown(Shutdown::Write)),
            End::Drop => return Ok(()),
        }
        let deadline = async {
            match wants.wake_at {
                Some(at) => sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ready = stream.readable(), if wants.read => {
                ready?;
                let now = Instant::now();
                match stream.try_read(&mut buffer) {
                    Err(error) if error.kind() == WouldBlock => {}
                    Ok(0) | Err(_) => echo(connection.handle_eof(now)),
                    Ok(count) => echo(connection.receive(now, &mut buffer[..count])),
                }
            }
            ready = stream.writable(), if wants.write => ready?,
            () = deadline => echo(connection.handle_deadline(Instant::now())),
        }
    }
}

fn write(stream: &TcpStream, connection: &mut Connection) -> io::Result<()> {
    let now = Instant::now();
    if connection.outbox(now).is_empty() {
        return Ok(());
    }
    let mut slices = [IoSlice::new(&[]); 16];
    let filled = connection.outbox(now).slices(&mut slices);
    let written = match stream.try_write_vectored(&slices[..filled]) {
        Err(error) if error.kind() == WouldBlock => 0,
        result => result?,
    };
    connection.outbox(now).written(now, written);
    Ok(())
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
