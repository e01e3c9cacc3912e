//! The configuration: defaults, then `moorline.json5`, then `MOORLINE_*` variables, then flags; each
//! overrides those before it.

mod agents;
mod files;
mod identity;
mod jwt;
mod keys;
mod layers;
mod members;
mod openai;
mod origin;
mod reading;
mod secret;
mod slot;
mod tree;
mod worker;

pub(crate) use agents::{AgentSettings, Backend};
pub(crate) use files::Files;
pub(crate) use identity::{Identity, SOON_DAYS};
pub(crate) use jwt::NamedJwtKey;
pub(crate) use keys::{KEYS, Key};
pub(crate) use layers::{Loaded, Sources};
pub(crate) use openai::OpenAiSettings;
pub(crate) use origin::{Origin, Problem};
pub(crate) use reading::Unset;
pub(crate) use secret::NamedSecret;

use crate::cli::LogFormat;
use crate::console;
use crate::failure::Failure;
use crate::jobs::site;
use moorline_core::gateway::{GatewayConfig, MetricsAccess, Site, StaticPage, Token};
use moorline_core::{Deflate, Limits};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// Every setting's effective value.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) host: IpAddr,
    pub(crate) port: u16,
    /// The certificate chain that the listener shows, and its key; without both it speaks no TLS.
    pub(crate) tls_cert: Option<PathBuf>,
    pub(crate) tls_key: Option<PathBuf>,
    pub(crate) tls_handshake_within: Duration,
    /// Handshakes of each loop at once.
    pub(crate) tls_handshakes: usize,
    pub(crate) token: Option<NamedSecret>,
    pub(crate) tokens: Vec<NamedSecret>,
    pub(crate) jwt: Vec<NamedJwtKey>,
    pub(crate) agents: Vec<AgentSettings>,
    pub(crate) state_dir: Option<PathBuf>,
    /// How often changed files are looked for; zero is never.
    pub(crate) watch_every: Duration,
    /// Conversations stay in memory.
    pub(crate) ephemeral: bool,
    /// How long uploaded files are kept; zero keeps them.
    pub(crate) media_keep: Duration,
    pub(crate) loops: u16,
    pub(crate) deflate: bool,
    /// The web page is served.
    pub(crate) console: bool,
    /// A folder that is served, such as another web page.
    pub(crate) ui_dir: Option<PathBuf>,
    /// A file of it.
    pub(crate) ui_file: u32,
    pub(crate) log_level: String,
    pub(crate) log_format: LogFormat,
    /// What goes to the gateway as it is. Its tokens, keys, agents and its address are not here.
    pub(crate) gateway: GatewayConfig,
}

impl Default for Settings {
    fn default() -> Self {
        let (host, port) = (Ipv4Addr::LOCALHOST.into(), 18790);
        Self {
            host,
            port,
            tls_cert: None,
            tls_key: None,
            tls_handshake_within: Duration::from_secs(5),
            tls_handshakes: 1000,
            token: None,
            tokens: Vec::new(),
            jwt: Vec::new(),
            agents: vec![AgentSettings::echo()],
            state_dir: None,
            watch_every: Duration::from_secs(2),
            ephemeral: false,
            media_keep: Duration::from_secs(30 * 24 * 60 * 60),
            loops: 1,
            deflate: false,
            console: true,
            ui_dir: None,
            ui_file: 16 * 1024 * 1024,
            log_level: "info".into(),
            log_format: LogFormat::Text,
            gateway: GatewayConfig {
                metrics: MetricsAccess::Local,
                ..GatewayConfig::new(SocketAddr::new(host, port))
            },
        }
    }
}

impl Settings {
    pub(crate) fn listen(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.port)
    }

    /// Whether the listener speaks TLS.
    pub(crate) fn is_secure(&self) -> bool {
        self.tls_cert.is_some()
    }

    /// Who the gateway is to its clients, where it speaks TLS.
    pub(crate) fn identity(&self) -> Result<Option<Identity>, Failure> {
        match (&self.tls_cert, &self.tls_key) {
            (None, None) => Ok(None),
            (Some(cert), Some(key)) => {
                let read = Identity::read(cert, key, SystemTime::now());
                read.map(Some).map_err(|what| Failure::Config(format!("tls: {what}")))
            }
            (cert, _) => {
                let (there, missing) =
                    if cert.is_some() { ("cert", "key") } else { ("key", "cert") };
                Err(Failure::Config(format!("tls.{there} needs tls.{missing} beside it")))
            }
        }
    }

    /// The configured tokens; none means that of the state folder.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = &NamedSecret> {
        self.token.iter().chain(&self.tokens)
    }

    /// The limits of each connection.
    pub(crate) fn limits(&self) -> Limits {
        let deflate = self.deflate.then(Deflate::default);
        Limits { deflate, ..self.gateway.limits.clone() }
    }

    /// What a gateway that listens on `listen` works by. `stored` are the tokens of the state folder.
    pub(crate) fn gateway_config(
        &self,
        listen: SocketAddr,
        stored: &[NamedSecret],
    ) -> GatewayConfig {
        let tokens: Vec<_> = self.tokens().collect();
        let tokens = if tokens.is_empty() { stored.iter().collect() } else { tokens };
        GatewayConfig {
            listen,
            secure: self.is_secure(),
            tokens: tokens.into_iter().map(|token| Token::admin(token.secret.clone())).collect(),
            jwt: self.jwt.iter().map(|named| named.key.clone()).collect(),
            agents: self.agents.iter().map(AgentSettings::agent).collect(),
            workers: self.agents.iter().filter_map(AgentSettings::workers).collect(),
            limits: self.limits(),
            pages: self.pages(),
            site: self.site(),
            ..self.gateway.clone()
        }
    }

    /// The web page; its place at `/` is the folder's, if there is one.
    fn pages(&self) -> &'static [StaticPage] {
        match (self.console, &self.ui_dir) {
            (false, _) => &[],
            (true, None) => console::PAGES,
            (true, Some(_)) => console::PAGES_BESIDE,
        }
    }

    fn site(&self) -> Option<Site> {
        let root = self.ui_dir.as_ref()?;
        Some(Site { root: root.as_path().into(), max_file_bytes: u64::from(self.ui_file) })
    }

    /// Whether what the settings name is there.
    pub(crate) fn check_folders(&self) -> Result<(), Failure> {
        self.ui_dir.as_ref().map_or(Ok(()), |root| site::check(root))
    }
}
