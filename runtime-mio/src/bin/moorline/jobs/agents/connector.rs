//! Opens connections to one endpoint: name, proxy, TLS, HTTP.

use super::endpoint::Endpoint;
use super::openai::Body;
use super::stream::Stream;
use crate::dial::{TlsFailure, client_config, roots_of_machine};
use futures_rustls::TlsConnector;
use hyper::client::conn::http1::{self, SendRequest};
use moorline_core::upgrade::Proxy;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, ServerName};
use smol::Executor;
use smol::io::{AsyncReadExt as _, AsyncWriteExt as _};
use smol::lock::Mutex;
use smol::net::TcpStream;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long the addresses of a name are remembered. Names are looked up on threads of their own: thousands of
/// runs that begin at once must not need thousands.
const RESOLVED: Duration = Duration::from_secs(10);

/// Bytes of a proxy's answer.
const PROXY_HEAD: usize = 8 * 1024;

pub(super) struct Connector {
    endpoint: Endpoint,
    proxy: Option<Proxy>,
    tls: Option<TlsConnector>,
    /// The lock is held while a name is looked up, so nobody does the same.
    resolved: Mutex<Option<(Instant, Vec<SocketAddr>)>>,
    executor: Arc<Executor<'static>>,
}

impl Connector {
    pub(super) fn new(
        endpoint: Endpoint,
        authorities: &[CertificateDer<'static>],
        proxy: Option<Proxy>,
        executor: Arc<Executor<'static>>,
    ) -> Self {
        let tls = endpoint.is_tls.then(|| tls(authorities));
        Self { endpoint, proxy, tls, resolved: Mutex::new(None), executor }
    }

    /// The proxy that must be told the whole URL: without TLS there is no way through it.
    pub(super) fn forwarding_proxy(&self) -> Option<&Proxy> {
        self.proxy.as_ref().filter(|_| !self.endpoint.is_tls)
    }

    /// Opens a connection. It has no deadline of its own; `in_tls` tells, whenever it is given up, whether the
    /// endpoint has taken the connection and has not done its part of TLS yet.
    pub(super) async fn connect(&self, in_tls: &AtomicBool) -> io::Result<SendRequest<Body>> {
        let mut stream = self.open().await?;
        let _ = stream.set_nodelay(true);
        let stream = match &self.tls {
            None => Stream::Plain(stream),
            Some(tls) => {
                if let Some(proxy) = &self.proxy {
                    let Endpoint { host, port, .. } = &self.endpoint;
                    ask(&mut stream, &proxy.connect_head(host, *port)).await?;
                }
                let name = ServerName::try_from(self.endpoint.host.clone())
                    .map_err(|_| io::Error::other("its name is none that TLS knows"))?;
                in_tls.store(true, Ordering::Relaxed);
                let stream = tls.connect(name, stream).await.map_err(in_words_of_tls)?;
                in_tls.store(false, Ordering::Relaxed);
                Stream::Tls(Box::new(stream))
            }
        };
        let (sender, connection) = http1::handshake(stream).await.map_err(io::Error::other)?;
        // It ends with the sender, or with an answer that nobody reads on. How it ended, that one knows.
        self.executor.spawn(async move { drop(connection.await) }).detach();
        Ok(sender)
    }

    async fn open(&self) -> io::Result<TcpStream> {
        let mut last = io::Error::other("its name has no address");
        for address in self.addresses().await? {
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        // They may be others by now.
        *self.resolved.lock().await = None;
        Err(match &self.proxy {
            Some(_) => io::Error::new(last.kind(), format!("its proxy: {last}")),
            None => last,
        })
    }

    async fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let (host, port) = match &self.proxy {
            Some(proxy) => (proxy.host(), proxy.port()),
            None => (&*self.endpoint.host, self.endpoint.port),
        };
        if let Ok(address) = host.parse() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let mut resolved = self.resolved.lock().await;
        match &*resolved {
            Some((at, addresses)) if at.elapsed() < RESOLVED => Ok(addresses.clone()),
            _ => {
                let addresses = smol::net::resolve((host, port)).await?;
                *resolved = Some((Instant::now(), addresses.clone()));
                Ok(addresses)
            }
        }
    }
}

/// What a server that speaks no TLS answers says nothing of TLS by itself.
fn in_words_of_tls(error: io::Error) -> io::Error {
    const PLAIN: &str = "is its base_url http://, not https://?";
    match TlsFailure::of_io(&error) {
        TlsFailure::NotTls => io::Error::other(format!("it does not answer by TLS: {PLAIN}")),
        TlsFailure::Closed => io::Error::other(format!(
            "it ended the connection instead of answering by TLS: {PLAIN}"
        )),
        _ => error,
    }
}

/// Asks a proxy for a way through, and reads no byte more than its answer.
async fn ask(stream: &mut TcpStream, head: &str) -> io::Result<()> {
    stream.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if answer.len() == PROXY_HEAD || stream.read(&mut byte).await? == 0 {
            return Err(io::Error::other("its proxy gave no answer"));
        }
        answer.push(byte[0]);
    }
    let status = std::str::from_utf8(&answer).ok().and_then(|head| head.split(' ').nth(1));
    match status {
        Some("200") => Ok(()),
        Some(status) if status.len() == 3 && status.bytes().all(|b| b.is_ascii_digit()) => {
            Err(io::Error::other(format!("its proxy answered {status}")))
        }
        _ => Err(io::Error::other("its proxy does not speak HTTP")),
    }
}

fn tls(authorities: &[CertificateDer<'static>]) -> TlsConnector {
    let roots = if authorities.is_empty() {
        roots_of_machine()
    } else {
        let mut roots = RootCertStore::empty();
        // They were checked with the configuration.
        roots.add_parsable_certificates(authorities.iter().cloned());
        roots
    };
    TlsConnector::from(client_config(roots))
}
