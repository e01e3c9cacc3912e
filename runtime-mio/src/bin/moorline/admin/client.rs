//! Requests to the gateway that runs, one after the other, over the socket of its state folder.

use super::args::Common;
use super::process::Process;
use super::target::Target;
use crate::dial::Dialed;
use crate::failure::Failure;
use crate::peer_text::PeerText;
use crate::wire::{Ended, NotUpgradedWhy, Wire, WireFailure};
use moorline_core::{ClientRequest, CloseCode};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long an answer may take. The gateway itself gives up before.
const PATIENCE: Duration = Duration::from_secs(45);

/// A logged-in connection to the running gateway.
pub(super) struct Client {
    wire: Wire,
}

/// What a gateway refused, in its words.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) code: String,
    pub(super) message: String,
    pub(super) details: Value,
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        let Refused { code, message, .. } = refused;
        Self::Runtime(format!("{} ({})", PeerText(&message), PeerText(&code)))
    }
}

impl Client {
    /// Logs in to the gateway that the command line means.
    pub(super) fn connect(common: &Common) -> Result<Self, Failure> {
        Self::of(&Target::of(common)?)
    }

    /// Logs in to the gateway that has a state folder.
    pub(super) fn of(target: &Target) -> Result<Self, Failure> {
        let mut client = Self::open(target)?;
        let hello = client.call("connect", json!({}))?;
        let (there, here) = (hello["server"]["version"].as_str(), env!("CARGO_PKG_VERSION"));
        if there.is_some_and(|there| there != here) {
            eprintln!(
                "moorline: the gateway that runs is version {}, this command {here}: what one of them \
                 does not know fails",
                PeerText(there.unwrap_or_default())
            );
        }
        Ok(client)
    }

    /// The same in the dialect of OpenClaw, which has devices of its own.
    pub(super) fn connect_openclaw(common: &Common) -> Result<Self, Failure> {
        let mut client = Self::open(&Target::of(common)?)?;
        let params = json!({
            "minProtocol": 3,
            "maxProtocol": 4,
            "role": "operator",
            "scopes": ["operator.admin"],
            "client": {
                "id": "cli",
                "mode": "cli",
                "version": env!("CARGO_PKG_VERSION"),
                "platform": std::env::consts::OS,
            },
        });
        client.call("connect", params)?;
        Ok(client)
    }

    fn open(target: &Target) -> Result<Self, Failure> {
        let stream = Dialed::Unix(target.connect()?);
        let request = ClientRequest::new("localhost", "/ws")
            .map_err(|error| Failure::Runtime(error.to_string()))?;
        let opened = Wire::upgrade(stream, request, Instant::now() + PATIENCE);
        let (wire, _) = opened.map_err(|failure| {
            Failure::Runtime(match failure.why {
                NotUpgradedWhy::Timeout => "the gateway does not answer".into(),
                _ => format!("the gateway did not take the connection: {failure}"),
            })
        })?;
        Ok(Self { wire })
    }

    /// The process at the other end.
    pub(super) fn gateway(&self) -> Option<Process> {
        Process::of_peer(self.wire.unix()?)
    }

    /// Asks, and gives the payload of the answer.
    pub(super) fn call(&mut self, method: &str, params: Value) -> Result<Value, Failure> {
        self.ask(method, params)?.map_err(Failure::from)
    }

    /// Asks, and gives the payload of the answer, or what the gateway has against it.
    pub(super) fn ask(
        &mut self,
        method: &str,
        params: Value,
    ) -> Result<Result<Value, Refused>, Failure> {
        match self.wire.call(method, params, Instant::now() + PATIENCE) {
            Ok(payload) => Ok(Ok(payload)),
            Err(WireFailure::Refused(mut error)) => {
                let text = |name: &str| error[name].as_str().unwrap_or_default().to_string();
                let (code, message) = (text("code"), text("message"));
                Ok(Err(Refused { code, message, details: error["details"].take() }))
            }
            Err(WireFailure::Timeout) => {
                Err(Failure::Runtime(format!("the gateway does not answer {method}")))
            }
            Err(WireFailure::Ended(ended)) => Err(Failure::Runtime(words(&ended))),
        }
    }

    /// Lets time pass, unless the gateway begins to end, or the connection does.
    pub(super) fn pause(&mut self, time: Duration) {
        // Each way that this comes to its end is the end of the pause.
        let _ = self.wire.event("shutdown", Instant::now() + time);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.wire.has_ended()
    }
}

impl Drop for Client {
    /// Says goodbye, so that nobody thinks of a client that was cut off.
    fn drop(&mut self) {
        self.wire.leave();
    }
}

/// Why the connection has ended.
fn words(ended: &Ended) -> String {
    let ends = [CloseCode::GOING_AWAY, CloseCode::RESTART];
    match ended.closed && ends.contains(&CloseCode(ended.code)) {
        true => "the gateway has ended".into(),
        false => format!("the gateway ended the connection: {}", ended.text),
    }
}
