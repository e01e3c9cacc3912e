//! The tokens of the state folder, which hold where none is configured: the one that is given to clients,
//! and for a while after a rotation the one before.

use crate::config::{NamedSecret, Settings};
use crate::failure::Failure;
use crate::hex;
use crate::state_dir::StateDir;
use moorline_core::gateway::HostToken;

/// The tokens of the state folder.
pub(super) struct KeptTokens {
    pub(super) current: String,
    /// It was made just now.
    pub(super) is_new: bool,
    previous: Option<String>,
}

impl KeptTokens {
    /// Reads them where none is configured; the first time one is made.
    pub(super) fn of(settings: &Settings, state: &StateDir) -> Result<Option<Self>, Failure> {
        if settings.tokens().next().is_some() {
            return Ok(None);
        }
        let (current, is_new) = state.token(new_token)?;
        let previous = state.previous_token()?.filter(|previous| *previous != current);
        Ok(Some(Self { current, is_new, previous }))
    }

    /// All that are valid.
    pub(super) fn secrets(kept: Option<&Self>) -> Vec<NamedSecret> {
        let all = kept.into_iter().flat_map(|kept| [Some(&kept.current), kept.previous.as_ref()]);
        all.flatten().map(|text| NamedSecret::new(text)).collect()
    }

    pub(super) fn has_previous(&self) -> bool {
        self.previous.is_some()
    }

    /// For the command line of the host.
    pub(super) fn told(&self, state: &StateDir, texts: bool) -> Vec<HostToken> {
        let token = |text: &String, name: &str, previous| HostToken {
            fingerprint: NamedSecret::new(text).fingerprint,
            source: state.path().join(name).display().to_string(),
            previous,
            kept: true,
            text: texts.then(|| text.clone()),
        };
        let previous = self.previous.iter().map(|text| token(text, "token.previous", true));
        std::iter::once(token(&self.current, "token", false)).chain(previous).collect()
    }
}

/// 256 bits, in hexadecimal.
pub(super) fn new_token() -> String {
    hex::random::<32>()
}
