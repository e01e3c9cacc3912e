//! What client commands log in with: what the command line says, then what variables say, then what the
//! gateway of this machine keeps.

use crate::environment;
use crate::failure::Failure;
use crate::{running, state_dir};
use clap::builder::NonEmptyStringValueParser;
use std::fmt::{self, Display, Formatter};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Flags of every command that logs in. It has no `Debug`: there is a token among them.
#[derive(Clone, clap::Args)]
pub(crate) struct CredentialArgs {
    /// The gateway's token [default: MOORLINE_TOKEN, then the one in the local state folder, for a gateway
    /// that runs with it on this machine].
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    token: Option<String>,
    /// Where the local gateway keeps its token [default: MOORLINE_STATE_DIR, then
    /// $XDG_STATE_HOME/moorline or ~/.local/state/moorline].
    #[arg(long)]
    pub(crate) state_dir: Option<PathBuf>,
}

/// What was said of a credential. It has no `Debug`, either.
#[derive(Clone)]
pub(crate) struct Credentials {
    token: Option<String>,
    /// The state folder that was named.
    pub(crate) state_dir: Option<PathBuf>,
}

impl CredentialArgs {
    /// The gateway that is meant: the one that the command line names, or else the one of the state folder.
    pub(crate) fn url(&self, named: Option<&str>) -> String {
        match named {
            Some(url) => url.into(),
            None => running::default_url(self.state_dir.clone()),
        }
    }

    /// The flags, with the variables behind them.
    ///
    /// # Errors
    /// A variable that is needed is no text.
    pub(crate) fn read(&self) -> Result<Credentials, Failure> {
        let token = match &self.token {
            Some(token) => Some(token.clone()),
            None => environment::text("MOORLINE_TOKEN")?,
        };
        Ok(Credentials { token, state_dir: named_state_dir(self.state_dir.clone()) })
    }
}

/// The state folder has a token that would be sent if a gateway ran with it.
#[derive(Debug)]
pub(crate) struct Withheld(PathBuf);

impl Display for Withheld {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let folder = self.0.display();
        write!(f, "no gateway runs with the state folder {folder}, so its token is not sent")
    }
}

impl Credentials {
    /// The token for a gateway at these addresses: the one that was given, or the one that the state folder
    /// has, which is for gateways of this machine only: on loopback while one runs with the folder, or where
    /// that one listens. To be asked when it is to be sent: a gateway may have ended, or started, since.
    ///
    /// # Errors
    /// There is a token for loopback, and no gateway that has it: whoever listens there may be anybody.
    pub(crate) fn token(&self, addresses: &[SocketAddr]) -> Result<Option<String>, Withheld> {
        if let Some(token) = &self.token {
            return Ok(Some(token.clone()));
        }
        let Some(state) = self.state_dir.clone().or_else(state_dir::default_path) else {
            return Ok(None);
        };
        let Some(token) = state_dir::client_token(&state) else { return Ok(None) };
        match addresses.iter().all(|address| address.ip().is_loopback()) {
            true if running::is_there(&state) => Ok(Some(token)),
            true => Err(Withheld(state)),
            false => Ok(running::is_at(&state, addresses).then_some(token)),
        }
    }
}

/// The state folder that a command line names, or else the variable.
pub(crate) fn named_state_dir(flag: Option<PathBuf>) -> Option<PathBuf> {
    flag.or_else(|| environment::variable("MOORLINE_STATE_DIR").map(PathBuf::from))
}

/// Whom a command is for: who its flag names, or else who this process belongs to.
///
/// # Errors
/// The variable is needed and no text.
pub(crate) fn user(flag: Option<&str>) -> Result<String, Failure> {
    match flag {
        Some(user) => Ok(user.into()),
        None => Ok(environment::text("USER")?.unwrap_or_else(|| "me".into())),
    }
}
