//! Runs every case of a conformance suite's fuzzing server as an echo client:
//! `conformance_client ws://127.0.0.1:9001 [agent] [no-context-takeover]`. The suite's protocol:
//! `/getCaseCount` sends a number, `/runCase?case=N&agent=NAME` runs a case,
//! `/updateReports?agent=NAME` writes the reports.

use moorline_core::{Cause, CloseCode, Deflate, Event, Limits, Outbox};
use moorline_smol::{Client, Handler, drive};
use std::error::Error;
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let base = arguments.next().unwrap_or_else(|| "ws://127.0.0.1:9001".into());
    let base = base.trim_end_matches('/');
    let agent = arguments.next().unwrap_or_else(|| "moorline-smol".into());
    let limits = limits(match arguments.next().as_deref() {
        None => false,
        Some("no-context-takeover") => true,
        Some(other) => return Err(format!("unknown argument: {other}").into()),
    });
    let client = |path: String| -> Result<Client, Box<dyn Error>> {
        Ok(Client::new(&format!("{base}{path}"))?.limits(limits.clone()))
    };
    smol::block_on(async {
        let mut socket = client("/getCaseCount".into())?.connect().await?;
        let answer = socket.next().await.ok_or("no case count")??;
        let count: u32 = answer.as_text().ok_or("the case count is not text")?.trim().parse()?;
        socket.close(CloseCode::NORMAL, "").await;
        for case in 1..=count {
            let client = client(format!("/runCase?case={case}&agent={agent}"))?;
            run(&client).await.map_err(|why| format!("case {case}: {why}"))?;
        }
        let mut socket = client(format!("/updateReports?agent={agent}"))?.connect().await?;
        socket.closed().await;
        println!("ran {count} cases");
        Ok(())
    })
}

/// Runs a case to its end. What goes wrong after the opening handshake is what the suite wants to see:
/// it judges, not this program.
async fn run(client: &Client) -> Result<(), Box<dyn Error>> {
    let (stream, connection) = client.dial().await?;
    let mut failed = None;
    drive(stream, connection, Echo { failed: &mut failed, is_open: false }).await;
    failed.map_or(Ok(()), |why| Err(why.into()))
}

/// Answers from within the connection's turn. A `WebSocket` hands its messages to another task:
/// whatever is wrong with the bytes behind a message ends the connection before that task has
/// answered, and the suite calls it not strict that the answer is missing.
struct Echo<'a> {
    /// Why there was no connection.
    failed: &'a mut Option<String>,
    is_open: bool,
}

impl Handler for Echo<'_> {
    fn event(&mut self, _now: Instant, event: Event<'_>, outbox: &mut Outbox) {
        let sent = match event {
            Event::Open => {
                self.is_open = true;
                Ok(())
            }
            Event::Text(text) => outbox.text(text),
            Event::Binary(data) => outbox.binary(data),
            Event::Closed(cause) if !self.is_open => {
                *self.failed = Some(match cause {
                    Cause::Eof => "cut off in the opening handshake".into(),
                    other => other.to_string(),
                });
                Ok(())
            }
            _ => Ok(()),
        };
        if sent.is_err() {
            outbox.give_up();
        }
    }
}

/// Conformance suites send megabytes in tiny pieces for minutes, and want to see compression whatever
/// the size.
fn limits(no_context_takeover: bool) -> Limits {
    Limits {
        deflate: Some(Deflate { no_context_takeover, threshold: 1, ..Deflate::default() }),
        message: 64 << 20,
        fragments: u32::MAX,
        outbox: 129 << 20,
        message_within: Duration::from_secs(3600),
        ..Limits::default()
    }
}
