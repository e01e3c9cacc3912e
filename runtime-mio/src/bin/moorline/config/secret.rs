//! Secrets of a configuration: where they are read from, and what may be shown of them.

use crate::hex;
use crate::regular_file;
use moorline_core::gateway::Secret;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// A longer file holds no secret: keys of 16,384 bits need a tenth of it.
const MOST: u64 = 128 * 1024;

/// A secret and the start of its hash, which tells it from others and gives nothing away.
#[derive(Clone)]
pub(crate) struct NamedSecret {
    pub(crate) secret: Secret,
    pub(crate) fingerprint: String,
}

impl NamedSecret {
    pub(crate) fn new(text: &str) -> Self {
        Self { secret: Secret::new(text), fingerprint: hex::fingerprint(text.as_bytes()) }
    }

    /// What may be shown of it: the first 8 hexadecimal digits of its SHA-256.
    pub(crate) fn shown(&self) -> String {
        format!("sha256:{}", self.fingerprint)
    }
}

/// A secret that is sent to others, such as the key of an endpoint. Nothing can print it.
#[derive(Clone)]
pub(crate) struct SentSecret {
    text: Box<str>,
    fingerprint: String,
}

impl SentSecret {
    pub(super) fn new(text: &str) -> Self {
        Self { text: text.into(), fingerprint: NamedSecret::new(text).shown() }
    }

    /// What may be shown of it.
    pub(crate) fn shown(&self) -> &str {
        &self.fingerprint
    }

    /// For the wire, and nothing else.
    pub(crate) fn expose(&self) -> &str {
        &self.text
    }
}

/// Whether other users than the owner can read a file.
pub(super) fn is_open_to_others(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o044 != 0)
}

/// A secret from a file, without the line end that editors add.
pub(super) fn from_file(path: &Path) -> Result<String, String> {
    let text = regular_file::read_text(path, MOST).map_err(|error| match error.kind() {
        // The system's words for it hold no path.
        io::ErrorKind::InvalidData => format!("{} is not text", path.display()),
        _ => format!("cannot read {}: {error}", path.display()),
    })?;
    match text.trim_end_matches(['\n', '\r']) {
        "" => Err(format!("{} is empty", path.display())),
        text => Ok(text.into()),
    }
}

/// A secret from a variable.
pub(super) fn from_env(name: &str) -> Result<String, String> {
    match std::env::var(name) {
        Ok(text) if text.is_empty() => Err(format!("the variable {name} is empty")),
        Ok(text) => Ok(text),
        Err(std::env::VarError::NotPresent) => Err(format!("the variable {name} is not set")),
        Err(std::env::VarError::NotUnicode(_)) => Err(format!("the variable {name} is not text")),
    }
}
