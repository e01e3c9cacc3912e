//! What is probed, and with which credential.

use crate::credentials::{CredentialArgs, Credentials};
use crate::dial::{self, TrustArgs};
use crate::failure::Failure;
use moorline_core::upgrade::Url;
use rustls::ClientConfig;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Flags of the commands that try a gateway out.
#[derive(Clone, clap::Args)]
pub(crate) struct TargetArgs {
    #[command(flatten)]
    pub(crate) credentials: CredentialArgs,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
    /// Seconds that all stages together may take.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub(crate) timeout: Duration,
}

/// A gateway, and how it is tried out.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) text: String,
    pub(crate) url: Url,
    /// Where it is, whatever the name in the URL says.
    at: Option<Vec<SocketAddr>>,
    pub(crate) tls: Arc<ClientConfig>,
    pub(crate) credentials: Credentials,
    pub(crate) timeout: Duration,
}

impl Target {
    pub(crate) fn new(text: &str, args: &TargetArgs) -> Result<Self, Failure> {
        Ok(Self {
            text: text.into(),
            url: dial::url(text)?,
            at: None,
            tls: args.trust.config()?,
            credentials: args.credentials.read()?,
            timeout: args.timeout,
        })
    }

    /// The same gateway, found there and asked under another name.
    pub(crate) fn under(&self, name: &str, at: &[SocketAddr]) -> Result<Self, Failure> {
        let text = self.text.replacen(self.url.host(), name, 1);
        Ok(Self { url: dial::url(&text)?, text, at: Some(at.into()), ..self.clone() })
    }

    /// Where it is; there is at least one address.
    pub(super) fn addresses(&self) -> Result<Vec<SocketAddr>, Failure> {
        match &self.at {
            Some(addresses) => Ok(addresses.clone()),
            None => dial::addresses(&self.url),
        }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_string())?;
    match (0.001..=3600.0).contains(&seconds) {
        true => Ok(Duration::from_secs_f64(seconds)),
        false => Err("between 0.001 and 3600 seconds".into()),
    }
}
