//! A chat room: `chat serve 127.0.0.1:9002`, then `chat ws://127.0.0.1:9002/NAME` in other terminals.
//! What one types all see. The client comes back by itself when the server was away.

use moorline_core::{Accept, CloseCode, Event, Frame, Outbox};
use moorline_smol::{
    Client, ReconnectOptions, Reconnecting, Sender, ServeOptions, State, Update, serve,
};
use std::collections::HashMap;
use std::error::Error;
use std::io::{BufRead as _, Write as _};
use std::sync::{Arc, Mutex};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", address] => smol::block_on(run_server(address)),
        [url] => smol::block_on(run_client(url)),
        _ => Err("chat serve ADDRESS, or chat URL".into()),
    }
}

/// Everybody in the room.
#[derive(Default)]
struct Room {
    members: HashMap<u64, Sender>,
    joined: u64,
}

impl Room {
    /// A member who reads too slowly misses messages; nobody waits for them.
    fn tell_all(&self, text: &str) {
        let frame = Frame::text(text);
        for member in self.members.values() {
            let _ = member.try_send_frame(&frame);
        }
    }
}

async fn run_server(address: &str) -> Result<(), Box<dyn Error>> {
    let listener = smol::net::TcpListener::bind(address).await?;
    println!("listening on ws://{}/NAME", listener.local_addr()?);
    std::io::stdout().flush()?;
    let room = Arc::new(Mutex::new(Room::default()));
    serve(listener, ServeOptions::default(), |incoming| {
        let (room, sender) = (room.clone(), incoming.sender());
        let (mut name, mut id) = (String::new(), 0);
        move |event: Event<'_>, outbox: &mut Outbox| {
            let mut room = room.lock().expect("no handler panics");
            match event {
                Event::Request(head) if head.is_upgrade() => {
                    name = head.path().trim_start_matches('/').chars().take(32).collect();
                    outbox.accept(&Accept::default()).expect("it is an upgrade");
                }
                Event::Open => {
                    room.joined += 1;
                    id = room.joined;
                    room.members.insert(id, sender.clone());
                    room.tell_all(&format!("* {name} is here"));
                }
                Event::Text(text) => room.tell_all(&format!("{name}: {text}")),
                Event::Closed(_) if room.members.remove(&id).is_some() => {
                    room.tell_all(&format!("* {name} has left"));
                }
                _ => {}
            }
        }
    })
    .await;
    Ok(())
}

async fn run_client(url: &str) -> Result<(), Box<dyn Error>> {
    let link = Arc::new(Reconnecting::new(Client::new(url)?, ReconnectOptions::default()));
    let typing = link.clone();
    // A blocked read of the terminal cannot be interrupted: the thread ends with the process.
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if let Err(unsent) = typing.try_send(line) {
                eprintln!("* not sent: {unsent}");
            }
        }
        typing.close(CloseCode::NORMAL, "");
    });
    while let Some(update) = link.next().await {
        match update {
            Update::Message(message) => {
                let text = message.as_text().unwrap_or("(binary)");
                println!("{}", text.escape_debug());
                std::io::stdout().flush()?;
            }
            Update::State(State::Waiting { pause, why, .. }) => {
                eprintln!("* {why}; next attempt in {:.1} s", pause.as_secs_f32());
            }
            Update::State(State::Closed { why }) => eprintln!("* {why}"),
            Update::State(_) => {}
        }
    }
    Ok(())
}
