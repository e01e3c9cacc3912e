//! The stages between a client and a gateway, each with its outcome and its time.

use serde_json::{Value, json};
use std::time::Duration;

/// In the order in which they are passed.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub(crate) enum StageName {
    /// The host's name becomes addresses.
    Lookup,
    Tcp,
    Tls,
    /// HTTP becomes a WebSocket.
    Upgrade,
    /// The challenge, then the login.
    Connect,
    /// A Ping and its Pong.
    Ping,
    Close,
}

impl StageName {
    pub(crate) const ALL: [Self; 7] =
        [Self::Lookup, Self::Tcp, Self::Tls, Self::Upgrade, Self::Connect, Self::Ping, Self::Close];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Lookup => "lookup",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Upgrade => "upgrade",
            Self::Connect => "connect",
            Self::Ping => "ping",
            Self::Close => "close",
        }
    }

    /// What the process ends with when this is the first stage that fails: for scripts.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Lookup => 10,
            Self::Tcp => 11,
            Self::Tls => 12,
            Self::Upgrade => 13,
            Self::Connect => 14,
            Self::Ping => 15,
            Self::Close => 16,
        }
    }
}

#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    Failed,
    /// There was no need, or no credential, or an earlier stage failed.
    NotTried,
}

impl Outcome {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "ok",
            Self::Failed => "failed",
            Self::NotTried => "not tried",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) name: StageName,
    pub(crate) outcome: Outcome,
    pub(crate) took: Duration,
    /// For people, escaped.
    pub(crate) about: String,
    /// For programs: an object.
    pub(crate) facts: Value,
}

impl Stage {
    pub(crate) fn json(&self) -> Value {
        let took = self.took.as_secs_f64() * 1000.0;
        json!({
            "stage": self.name.as_str(),
            "outcome": self.outcome.as_str(),
            "tookMs": (took * 1000.0).round() / 1000.0,
            "about": self.about,
            "facts": self.facts,
        })
    }

    /// One line without its end.
    pub(crate) fn line(&self) -> String {
        let took = match self.outcome {
            Outcome::NotTried => String::new(),
            _ => format!("{:.1} ms", self.took.as_secs_f64() * 1000.0),
        };
        let (name, outcome) = (self.name.as_str(), self.outcome.as_str());
        format!("{name:<8} {outcome:<9} {took:>10}  {}", self.about).trim_end().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stage_has_an_exit_code_of_its_own() {
        let mut codes: Vec<_> = StageName::ALL.iter().map(|name| name.exit_code()).collect();
        codes.dedup();
        assert_eq!(codes, (10..17).collect::<Vec<_>>());
    }
}
