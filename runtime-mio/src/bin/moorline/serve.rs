//! `moorline serve`: the gateway.

pub(crate) mod facts;
mod folding;
mod kept_tokens;
mod node;
mod operate;
mod reload;
mod tls;
mod watcher;

use crate::admin_socket::{self, AdminSocket};
use crate::cli::ServeArgs;
use crate::config::{Files, Settings, Sources};
use crate::failure::Failure;
use crate::jobs::{Jobs, Mailbox, MediaDir, Store};
use crate::metrics::Metrics;
use crate::percent::escaped;
use crate::server_tls::ServerTls;
use crate::state_dir::StateDir;
use crate::{log, open_files, port_holder, service_manager, signals, state_dir};
use kept_tokens::KeptTokens;
use moorline_core::gateway::{Gateway, GatewayConfig, Node};
use moorline_mio::{OsEntropy, Server, ServerOptions};
use node::{Around, GatewayNode};
use operate::{Load, Operator};
use reload::{Bound, Reload, Reloader};
use std::io::{IsTerminal as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

pub(crate) fn run(args: &ServeArgs) -> Result<(), Failure> {
    let sources = Sources::of_process(args);
    let mut files = Files::default();
    let loaded = sources.load_noting(&mut files)?;
    let settings = &loaded.settings;
    let log = log::init(settings.log_format, &settings.log_level)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    settings.check_folders()?;
    let identity = settings.identity()?;
    let tls = ServerTls::new().map_err(|error| Failure::Runtime(format!("TLS: {error}")))?;
    let open_files = open_files::raise_limit();
    open_files::warn_if_few(settings);
    // The address first: it takes a moment, and nothing was touched when somebody else has it.
    let options = ServerOptions {
        loops: usize::from(settings.loops),
        limits: settings.limits(),
        tls: identity.as_ref().map(|identity| tls::options(&tls, settings, identity)),
        ..ServerOptions::default()
    };
    let mut server = match service_manager::listener()? {
        Some(listener) => Server::from_listener(listener, options)?,
        None => Server::bind(settings.listen(), options)
            .map_err(|error| port_holder::explain_bind(settings.listen(), &error))?,
    };
    tls::announce(settings, server.local_addr(), identity.as_ref());
    let state = StateDir::open(settings.state_dir.clone(), loaded.file.as_deref())?;
    let kept = KeptTokens::of(settings, &state)?;
    let store = if settings.ephemeral { Store::memory() } else { Store::open(state.path())? };
    let media = MediaDir::open(state.path(), settings.media_keep)?;
    let stored = KeptTokens::secrets(kept.as_ref());
    let config = settings.gateway_config(server.local_addr(), &stored);
    let gateways = gateways(&config, server.handles().len())?;

    let (mailboxes, inboxes): (Vec<_>, Vec<_>) =
        server.handles().into_iter().map(Mailbox::new).unzip();
    let metrics = Arc::new(Metrics::new(server.handles(), log.dropped.clone(), media.kept()));
    let tail = log.tail.clone();
    let (host, host_tasks) = mpsc::channel();
    let (jobs, threads) =
        Jobs::start(&mailboxes, store, media, tail, &metrics, &settings.agents, host)?;
    let loads: Vec<_> = mailboxes.iter().map(|_| Arc::new(Load::default())).collect();
    let (reloads, reload_inboxes): (Vec<_>, Vec<_>) =
        server.handles().into_iter().map(Reload::channel).unzip();
    let nodes: Vec<_> = gateways
        .into_iter()
        .zip(inboxes)
        .zip(reload_inboxes)
        .enumerate()
        .map(|(index, ((gateway, inbox), reloads))| {
            let (jobs, load, mailboxes) = (jobs.clone(), loads[index].clone(), mailboxes.clone());
            let recorder = metrics.recorder(index, &config.agents);
            let around = Around { inbox, reloads, jobs, load, mailboxes, recorder };
            let mut node = GatewayNode::new(index, gateway, around);
            node.start();
            Mutex::new(Some(node))
        })
        .collect();
    let agents = jobs.agents().clone();
    drop(jobs);
    state.note_url(&url(settings, server.local_addr()))?;
    let admin_socket = listen_locally(&mut server, &state);
    let announcement = announcement(&server, &state, settings, kept.as_ref());
    tracing::info!(
        address = %server.local_addr(),
        tls = identity.is_some(),
        config = loaded.file.as_ref().map(|path| path.display().to_string()),
        stateDir = %state.path().display(),
        loops = settings.loops,
        openFiles = open_files,
        version = env!("CARGO_PKG_VERSION"),
        "serving"
    );
    let address = server.local_addr();
    let bound = Bound { address, secure: identity.is_some(), tls };
    let running = (loaded, kept, files);
    let reloader = Reloader::new(sources, running, bound, state, log.level, agents, reloads);
    let reloader = Arc::new(Mutex::new(reloader));
    let handles = server.handles();
    watcher::watch(&reloader)?;
    Operator { reloader: reloader.clone(), handles, loads, mailboxes }.start(host_tasks)?;
    signals::watch(server.handles(), move || {
        // It is whole between its calls.
        reloader.lock().unwrap_or_else(PoisonError::into_inner).reload();
    })?;
    // Signals are watched from here on, so who reads this may send them.
    let mut out = std::io::stdout();
    // A closed stdout is no reason not to serve.
    let _ = out.write_all(announcement.as_bytes()).and_then(|()| out.flush());
    service_manager::feed_watchdog(server.handles())?;
    service_manager::ready(&serving(address));
    server.run(|index, _| {
        let node = nodes[index].lock().expect("nothing panics while it holds this").take();
        node.expect("each loop starts once")
    })?;
    // What was begun is finished before the state folder's lock is released.
    drop(nodes);
    for thread in threads {
        let _ = thread.join();
    }
    drop(admin_socket);
    tracing::info!("stopped");
    Ok(())
}

/// Serves the host's command line, too. The gateway is of use without it.
fn listen_locally(server: &mut Server, state: &StateDir) -> Option<AdminSocket> {
    let bound = AdminSocket::bind(state.path()).and_then(|(bound, listener)| {
        server.listen_locally(listener)?;
        Ok(bound)
    });
    bound
        .inspect_err(|error| {
            tracing::warn!(
                path = %admin_socket::path(state.path()).display(),
                %error,
                "cannot listen there: commands such as `moorline devices` do not reach this gateway"
            );
        })
        .ok()
}

/// Where clients of this machine find the gateway that listens there by these settings.
pub(crate) fn url(settings: &Settings, listening: SocketAddr) -> String {
    let scheme = if settings.is_secure() { "wss" } else { "ws" };
    format!("{scheme}://{}/ws", reachable(listening))
}

/// What a service manager shows of the gateway.
fn serving(address: SocketAddr) -> String {
    format!("Serving on {address}")
}

/// One gateway per loop, all made before the first client is served.
fn gateways(config: &GatewayConfig, count: usize) -> Result<Vec<Gateway>, Failure> {
    let (now, unix_ms) = (Instant::now(), node::unix_ms());
    (0..count)
        .map(|index| {
            let node = Node { index: index as u16, count: count as u16 };
            Gateway::new(config.clone(), node, Box::new(OsEntropy), now, unix_ms)
                .map_err(|error| Failure::Config(error.to_string()))
        })
        .collect()
}

/// What the operator sees on stdout: where to connect, and once the token.
fn announcement(
    server: &Server,
    state: &StateDir,
    settings: &Settings,
    kept: Option<&KeptTokens>,
) -> String {
    let (web_socket, http) = if settings.is_secure() { ("wss", "https") } else { ("ws", "http") };
    let mut text =
        format!("moorline gateway listening on {web_socket}://{}/ws\n", server.local_addr());
    if let Some(KeptTokens { current: token, is_new: true, .. }) = kept {
        text += &format!("token: {token}  (kept in {})\n", state.path().join("token").display());
    }
    let program = std::env::args().next().unwrap_or_else(|| "moorline".into());
    let credential = if settings.tokens().next().is_some() {
        " --token …".to_string()
    } else if Some(state.path()) != state_dir::default_path().as_deref() {
        format!(" --state-dir {}", state.path().display())
    } else {
        String::new()
    };
    let address = reachable(server.local_addr());
    if settings.console || settings.ui_dir.is_some() {
        // What is not a terminal is kept, by a service manager for instance, and read by others.
        let shown = kept.filter(|kept| kept.is_new || std::io::stdout().is_terminal());
        let token = shown.map(|kept| format!("#token={}", escaped(&kept.current)));
        text += &format!("page: {http}://{address}/{}\n", token.unwrap_or_default());
    }
    text + &format!("try: {program} chat {}{credential}\n", url(settings, address))
}

/// An address that a client on this machine can connect to: "any" is one to listen on only.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_to_be_pasted_can_be_connected_to() {
        for (listening, pasted) in [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("192.0.2.1:1", "192.0.2.1:1"),
        ] {
            let address = reachable(listening.parse().expect("an address"));
            assert_eq!(address.to_string(), pasted, "{listening}");
        }
    }
}
