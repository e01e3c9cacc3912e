//! Connecting: what to ask for, and through which stream.

use crate::dial::{Timeouts, dial, within};
use crate::entropy::OsEntropy;
use crate::error::{ConnectCause, ConnectError, Phase};
use crate::proxy::{self, TunnelError};
use crate::stream::Stream;
use crate::tls::{default_tls, handshake};
use crate::websocket::WebSocket;
use futures_rustls::rustls::ClientConfig;
use moorline_core::upgrade::{Proxy, Url};
use moorline_core::{ClientRequest, Connection, Limits};
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

/// Connects to a `ws://` or `wss://` URL with default options. [`Client`] has the others.
///
/// # Errors
/// [`ConnectError`].
pub async fn connect(url: &str) -> Result<WebSocket, ConnectError> {
    Client::new(url)?.connect().await
}

/// How to connect: a builder that can be used again and again.
#[derive(Clone)]
pub struct Client {
    url: Url,
    request: ClientRequest,
    subprotocols: Vec<String>,
    limits: Limits,
    timeouts: Timeouts,
    proxy: ProxyChoice,
    tls: Option<Arc<ClientConfig>>,
    inbox: usize,
}

#[derive(Debug, Clone)]
enum ProxyChoice {
    Environment,
    None,
    This(Proxy),
}

impl Client {
    /// Default for what may wait to be taken by [`WebSocket::next`].
    pub const INBOX: usize = 1024 * 1024;

    /// A client of this URL.
    ///
    /// # Errors
    /// [`Phase::Setup`]: the URL is wrong.
    pub fn new(url: &str) -> Result<Self, ConnectError> {
        let url = Url::parse(url).map_err(|error| ConnectError::setup(error.to_string()))?;
        Ok(Self {
            request: ClientRequest::new(url.authority(), url.target())?,
            url,
            subprotocols: Vec::new(),
            limits: Limits { message: 32 << 20, ..Limits::default() },
            timeouts: Timeouts::default(),
            proxy: ProxyChoice::Environment,
            tls: None,
            inbox: Self::INBOX,
        })
    }

    /// Adds a header, such as `Authorization` or `Origin`.
    ///
    /// # Errors
    /// [`Phase::Setup`]: it is not a header, or one that the handshake writes itself.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, ConnectError> {
        self.request = self.request.header(name, value)?;
        Ok(self)
    }

    /// Offers a subprotocol; the first offered is the most wanted.
    ///
    /// # Errors
    /// [`Phase::Setup`]: it is not a token, or was offered before.
    pub fn subprotocol(mut self, name: &str) -> Result<Self, ConnectError> {
        self.request = self.request.subprotocol(name)?;
        self.subprotocols.push(name.into());
        Ok(self)
    }

    /// What the server may cost. Default: as of [`Limits`], but messages up to 32 MiB, for a server's
    /// long answers are not attacks. The time for the handshake is [`Timeouts::upgrade`].
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// How long each phase may take.
    pub fn timeouts(self, timeouts: Timeouts) -> Self {
        Self { timeouts, ..self }
    }

    /// Uses this proxy instead of the one that the environment names (`HTTPS_PROXY`, `http_proxy`,
    /// `ALL_PROXY`, `NO_PROXY`).
    pub fn proxy(self, proxy: Proxy) -> Self {
        Self { proxy: ProxyChoice::This(proxy), ..self }
    }

    /// Uses no proxy, whatever the environment names.
    pub fn no_proxy(self) -> Self {
        Self { proxy: ProxyChoice::None, ..self }
    }

    /// TLS with this configuration instead of [`default_tls`].
    pub fn tls(self, config: Arc<ClientConfig>) -> Self {
        Self { tls: Some(config), ..self }
    }

    /// Bytes of messages that may wait to be taken by [`WebSocket::next`]; above it, reading pauses
    /// and the server feels it. Default [`Client::INBOX`]. Lower: a slow application delays Pongs
    /// sooner, and servers take it for gone.
    pub fn inbox(self, bytes: usize) -> Self {
        Self { inbox: bytes, ..self }
    }

    /// Where it connects to; its `Debug` output has no query.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Connects, and waits until messages can be sent. Dropping the future gives up the connection.
    ///
    /// # Errors
    /// [`ConnectError`] says in which phase and why.
    pub async fn connect(&self) -> Result<WebSocket, ConnectError> {
        let (stream, connection) = self.dial().await?;
        WebSocket::open(stream, connection, self.inbox, &self.subprotocols, self.timeouts.upgrade)
            .await
    }

    /// Connects as far as the stream: for [`drive`](crate::drive()), whose handler gets borrowed events.
    /// The upgrade request waits in the connection's outbox.
    ///
    /// # Errors
    /// [`ConnectError`] of any phase before the upgrade.
    pub async fn dial(&self) -> Result<(Stream, Connection), ConnectError> {
        let Self { url, timeouts, .. } = self;
        let from_environment;
        let proxy = match &self.proxy {
            ProxyChoice::None => None,
            ProxyChoice::This(proxy) => Some(proxy),
            ProxyChoice::Environment => {
                let chosen = proxy::from_environment(url, |name| std::env::var(name).ok());
                from_environment = chosen.map_err(ConnectError::setup)?;
                from_environment.as_ref()
            }
        };
        let tcp = match proxy {
            None => dial(url.host(), url.port(), timeouts).await?,
            Some(proxy) => {
                let mut tcp = dial(proxy.host(), proxy.port(), timeouts).await?;
                let tunnel = async {
                    proxy::open_tunnel(proxy, url, &mut tcp).await.map_err(|error| ConnectError {
                        phase: Phase::Proxy,
                        cause: match error {
                            TunnelError::Io(error) => ConnectCause::Io(error),
                            TunnelError::Refused(refusal) => ConnectCause::Refused(refusal),
                        },
                    })
                };
                within(timeouts.proxy, Phase::Proxy, tunnel).await?;
                tcp
            }
        };
        let stream = if url.is_secure() {
            let config = self.tls.clone().unwrap_or_else(default_tls);
            let tls = handshake(config, url.host(), tcp);
            Stream::tls(within(timeouts.tls, Phase::Tls, tls).await?)
        } else {
            Stream::plain(tcp)
        };
        let limits = Limits { handshake_within: timeouts.upgrade, ..self.limits.clone() };
        let request = self.request.clone();
        let entropy = Box::new(OsEntropy);
        Ok((stream, Connection::client(request, entropy, Arc::new(limits), Instant::now())))
    }
}

impl fmt::Debug for Client {
    /// Without headers, which carry credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("url", &self.url)
            .field("subprotocols", &self.subprotocols)
            .field("timeouts", &self.timeouts)
            .field("proxy", &self.proxy)
            .finish_non_exhaustive()
    }
}
