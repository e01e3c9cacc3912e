//! Small things that must outlive the process, as data: links over a drain, devices, keys.

use std::sync::Arc;

/// What a [`Record`] is about. Keys of different kinds have nothing to do with each other.
#[derive(Debug, Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RecordKind {
    /// A link that a client may take up again after a drain.
    Link,
    /// A device that was let in.
    Device,
    /// A device that asks to be let in.
    Pairing,
    /// An API key. The value must hold its hash, never the key.
    ApiKey,
    /// A credential that is valid no more.
    Revocation,
    /// A device of the second dialect, by its public key. The value must hold the hashes of its tokens,
    /// never the tokens.
    DeviceKey,
    /// What a node of the second dialect may be told to do, by its device.
    Node,
}

impl RecordKind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Link,
        Self::Device,
        Self::Pairing,
        Self::ApiKey,
        Self::Revocation,
        Self::DeviceKey,
        Self::Node,
    ];

    /// The word that stores keep. It must never change: files have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Device => "device",
            Self::Pairing => "pairing",
            Self::ApiKey => "api_key",
            Self::Revocation => "revocation",
            Self::DeviceKey => "device_key",
            Self::Node => "node",
        }
    }

    /// The kind of this word; `None` for one that a newer version wrote.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// A small durable thing. A later one with the same kind and key takes its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What it is about.
    pub kind: RecordKind,
    /// Which one of its kind.
    pub key: Arc<str>,
    /// JSON text. Stores do not look into it.
    pub value: Arc<str>,
    /// From when on it is forgotten, in Unix milliseconds. `None` keeps it until it is removed.
    pub expires: Option<u64>,
}

impl Record {
    /// Whether it is forgotten at this time, in Unix milliseconds.
    pub fn is_expired(&self, at: u64) -> bool {
        self.expires.is_some_and(|expires| expires <= at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_a_word_of_its_own() {
        for kind in RecordKind::ALL {
            assert_eq!(RecordKind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(RecordKind::parse("Link"), None);
    }
}
