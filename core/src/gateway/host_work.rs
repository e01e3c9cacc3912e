//! What the process around the gateways is asked to do, and what comes of it: for the methods of the host.

/// Work for whoever runs the gateways: one outcome, [`Outcome::Host`](super::Outcome::Host).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostWork {
    /// Read the configuration again, and take it over everywhere if it is good:
    /// [`HostOutcome::Reloaded`] or [`HostOutcome::Misconfigured`].
    Reload,
    /// Begin to end all gateways by [`Gateway::drain`](super::Gateway::drain):
    /// [`HostOutcome::Progress`].
    Drain {
        /// Another process takes this one's place.
        restart: bool,
    },
    /// What is left to be done until that is over: [`HostOutcome::Progress`].
    Progress,
    /// Which gateway tokens there are: [`HostOutcome::Tokens`].
    Tokens {
        /// With the texts of those that the host keeps itself.
        texts: bool,
    },
    /// Make a new token in place of the one that the host keeps: [`HostOutcome::Tokens`] with its text,
    /// or [`HostOutcome::Refused`].
    RotateToken {
        /// The one before is valid no more; else it is until it is dropped.
        now: bool,
    },
    /// Drop the token before, which the host keeps beside the one that holds: [`HostOutcome::Tokens`], or
    /// [`HostOutcome::Refused`].
    DropToken,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostOutcome {
    /// The configuration was taken over.
    Reloaded(Reloaded),
    /// It cannot be: what is wrong. Nothing has changed.
    Misconfigured(Vec<Misconfigured>),
    /// How far the end is.
    Progress(DrainProgress),
    /// The gateway tokens.
    Tokens(Vec<HostToken>),
    /// It is not to be done as things are; the text says why.
    Refused(String),
    /// It could not be done; the text says why.
    Failed(String),
}

/// A configuration that was taken over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// The file that was read.
    pub file: Option<String>,
    /// Settings that have changed and hold now.
    pub changed: Vec<String>,
    /// Settings that have changed and hold after a restart.
    pub need_restart: Vec<String>,
    /// What works, but should be seen to.
    pub warnings: Vec<String>,
}

/// Something that is wrong with a configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Misconfigured {
    /// Where it stands: a file, a variable, a flag.
    pub place: String,
    /// Line and column, counted from 1.
    pub position: Option<(usize, usize)>,
    /// The setting.
    pub key: Option<String>,
    /// What is wrong with it.
    pub message: String,
}

/// How far the end of all gateways is.
#[derive(Debug, Copy, Clone, Default, PartialEq, Eq)]
pub struct DrainProgress {
    /// It has begun.
    pub draining: bool,
    /// Connections, without local ones.
    pub connections: u64,
    /// Runs that are under way or wait.
    pub runs: u64,
}

/// A gateway token. It has no `Debug` that shows its text.
#[derive(Clone, PartialEq, Eq)]
pub struct HostToken {
    /// What tells it apart, as [`Secret`](super::Secret) has it: 8 hexadecimal digits.
    pub fingerprint: String,
    /// Where it comes from, in words.
    pub source: String,
    /// The host keeps it, and it is the one before.
    pub previous: bool,
    /// The host keeps it.
    pub kept: bool,
    /// Its text, where that was asked for.
    pub text: Option<String>,
}

impl std::fmt::Debug for HostToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostToken")
            .field("fingerprint", &self.fingerprint)
            .field("source", &self.source)
            .field("kept", &self.kept)
            .field("previous", &self.previous)
            .finish_non_exhaustive()
    }
}
