//! What is known about an ending, an answer or a message.

use serde_json::{Value, json};

/// What kind of thing an entry explains.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The code of a Close frame (RFC 6455 section 7.4).
    CloseCode,
    /// The reason of a Close frame.
    Reason,
    /// The HTTP status of a request that was not upgraded.
    Status,
    /// The `code` of an error answer, or of its `details`.
    ErrorCode,
    /// What a client prints.
    Message,
    /// The `cause` of a log line `closed`.
    Cause,
    /// The `reason` of a log line `TLS handshake failed`.
    TlsFailure,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::CloseCode => "close code",
            Self::Reason => "close reason",
            Self::Status => "HTTP status",
            Self::ErrorCode => "error code",
            Self::Message => "client message",
            Self::Cause => "cause in the log",
            Self::TlsFailure => "TLS failure in the log",
        }
    }

    /// An entry of this kind, with the code of no Close.
    pub(crate) const fn entry(
        self,
        name: &'static str,
        says: &'static [&'static str],
        means: &'static str,
        causes: &'static [&'static str],
        fix: &'static [&'static str],
    ) -> Entry {
        Entry { kind: self, name, code: 0, says, means, causes, fix }
    }
}

/// One thing that people see and ask about.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    /// The code, or the text as it is mostly seen.
    pub(crate) name: &'static str,
    /// The close code that goes with a reason; 0 for none.
    pub(crate) code: u16,
    /// Texts that mean this, wherever they stand; `*` stands for anything. The name is one of them,
    /// unless it is a number, a cause or a TLS failure.
    pub(crate) says: &'static [&'static str],
    pub(crate) means: &'static str,
    /// The likeliest first.
    pub(crate) causes: &'static [&'static str],
    /// What to do, in this order.
    pub(crate) fix: &'static [&'static str],
}

impl Entry {
    pub(crate) fn json(&self) -> Value {
        json!({
            "kind": self.kind.as_str(),
            "name": self.name,
            "code": (self.code != 0).then_some(self.code),
            "meaning": self.means,
            "causes": self.causes,
            "do": self.fix,
        })
    }

    /// The texts by which it is found within others.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &'static str> {
        let named = matches!(self.kind, Kind::Reason | Kind::ErrorCode | Kind::Message);
        named.then_some(self.name).into_iter().chain(self.says.iter().copied())
    }
}
