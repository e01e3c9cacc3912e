//! An echo server: `echo 127.0.0.1:9001`. It prints its URL, compresses messages (permessage-deflate)
//! for clients that offer it, and serves until its standard input ends or it is killed.

use moorline_core::{Accept, CloseCode, Deflate, Event, Limits, Outbox, Response};
use moorline_smol::{ServeOptions, Stop, serve};
use std::error::Error;
use std::io::{Read as _, Write as _};
use std::time::Duration;

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".into());
    let options = ServeOptions { limits: limits(), ..ServeOptions::default() };
    stop_with_input(options.stop.clone());
    smol::block_on(async {
        let listener = smol::net::TcpListener::bind(address).await?;
        println!("listening on ws://{}/", listener.local_addr()?);
        std::io::stdout().flush()?;
        serve(listener, options, |_| echo).await;
        Ok(())
    })
}

fn echo(event: Event<'_>, outbox: &mut Outbox) {
    let sent = match event {
        Event::Request(head) => {
            let answered = if head.is_upgrade() {
                outbox.accept(&Accept::default())
            } else {
                outbox.respond(&Response::text(426, "this is a WebSocket server\n"))
            };
            return answered.expect("a request is answered once");
        }
        Event::Text(text) => outbox.text(text),
        Event::Binary(data) => outbox.binary(data),
        _ => Ok(()),
    };
    if sent.is_err() {
        outbox.close(CloseCode::POLICY, "slow consumer");
    }
}

/// Conformance suites send megabytes in tiny pieces for minutes, and want to see compression whatever
/// the size.
fn limits() -> Limits {
    Limits {
        deflate: Some(Deflate { threshold: 1, ..Deflate::default() }),
        message: 64 << 20,
        fragments: u32::MAX,
        outbox: 129 << 20,
        message_within: Duration::from_secs(3600),
        ..Limits::default()
    }
}

/// Input that never was one (a closed one, as services have it) does not stop it.
fn stop_with_input(stop: Stop) {
    std::thread::spawn(move || {
        let mut seen = [0; 1024];
        let mut input = std::io::stdin();
        if !matches!(input.read(&mut seen), Ok(1..)) {
            return;
        }
        while let Ok(1..) = input.read(&mut seen) {}
        stop.stop();
    });
}
