//! Runs every case of a conformance suite's fuzzing server as an echo client:
//! `conformance_client ws://127.0.0.1:9001 [agent]`. The suite's protocol: `/getCaseCount` sends a
//! number, `/runCase?case=N&agent=NAME` runs a case, `/updateReports?agent=NAME` writes the reports.

use moorline_core::{CloseCode, Limits};
use moorline_smol::{Client, WebSocket};
use std::error::Error;
use std::time::Duration;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let base = arguments.next().unwrap_or_else(|| "ws://127.0.0.1:9001".into());
    let base = base.trim_end_matches('/');
    let agent = arguments.next().unwrap_or_else(|| "moorline-smol".into());
    smol::block_on(async {
        let mut socket = open(&format!("{base}/getCaseCount")).await?;
        let answer = socket.next().await.ok_or("no case count")??;
        let count: u32 = answer.as_text().ok_or("the case count is not text")?.trim().parse()?;
        socket.close(CloseCode::NORMAL, "").await;
        for case in 1..=count {
            let mut socket = open(&format!("{base}/runCase?case={case}&agent={agent}")).await?;
            // What goes wrong is what the suite wants to see: it judges, not this program.
            while let Some(Ok(message)) = socket.next().await {
                if socket.send(message).await.is_err() {
                    break;
                }
            }
        }
        let mut socket = open(&format!("{base}/updateReports?agent={agent}")).await?;
        socket.closed().await;
        println!("ran {count} cases");
        Ok(())
    })
}

async fn open(url: &str) -> Result<WebSocket, Box<dyn Error>> {
    let limits = Limits {
        message: 64 << 20,
        fragments: u32::MAX,
        outbox: 129 << 20,
        message_within: Duration::from_secs(3600),
        ..Limits::default()
    };
    Ok(Client::new(url)?.limits(limits).connect().await?)
}
