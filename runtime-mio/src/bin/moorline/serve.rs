//! `moorline serve`: the gateway.

mod facts;
mod node;

use crate::cli::ServeArgs;
use crate::failure::Failure;
use crate::jobs::{Jobs, Mailbox, Store};
use crate::state_dir::StateDir;
use crate::{log, open_files, port_holder, signals};
use moorline_core::gateway::{Gateway, GatewayConfig, Node, Secret, Token};
use moorline_core::{Deflate, Entropy as _, Limits};
use moorline_mio::{OsEntropy, Server, ServerOptions};
use node::GatewayNode;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Mutex;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

pub(crate) fn run(args: &ServeArgs) -> Result<(), Failure> {
    let _log = log::init(args.log_format);
    let open_files = open_files::raise_limit();
    // The address first: it takes a moment, and nothing was touched when somebody else has it.
    let limits = Limits { deflate: args.deflate.then(Deflate::default), ..Limits::default() };
    let options = ServerOptions {
        loops: usize::from(args.loops),
        limits: limits.clone(),
        ..ServerOptions::default()
    };
    let server = Server::bind(args.listen, options)
        .map_err(|error| port_holder::explain_bind(args.listen, &error))?;
    let state = StateDir::open(args.state_dir.clone())?;
    let (token, is_new) = match &args.token {
        Some(token) => (token.clone(), false),
        None => state.token(new_token)?,
    };

    let store = if args.ephemeral { Store::memory() } else { Store::open(state.path())? };

    let mut config = GatewayConfig::new(server.local_addr());
    config.tokens = vec![Token::admin(Secret::new(&token))];
    config.owner_ids.clone_from(&args.owner_ids);
    config.allowed_origins.clone_from(&args.allowed_origins);
    config.allowed_hosts.clone_from(&args.allowed_hosts);
    config.rate_limit_rpm = args.rate_limit_rpm;
    config.create_sessions_on_send = args.create_sessions;
    config.limits = limits;
    let gateways = gateways(&config, server.handles().len())?;

    let (mailboxes, inboxes): (Vec<_>, Vec<_>) =
        server.handles().into_iter().map(Mailbox::new).unzip();
    let (jobs, store_thread) = Jobs::start(&mailboxes, store)?;
    let nodes: Vec<_> = gateways
        .into_iter()
        .zip(inboxes)
        .enumerate()
        .map(|(index, (gateway, inbox))| {
            let node = GatewayNode::new(index, gateway, inbox, jobs.clone(), mailboxes.clone());
            Mutex::new(Some(node))
        })
        .collect();
    drop((jobs, mailboxes));
    signals::stop_on_signal(server.handles())?;
    announce(&server, &state, args, is_new.then_some(&token));
    tracing::info!(
        address = %server.local_addr(),
        stateDir = %state.path().display(),
        loops = args.loops,
        openFiles = open_files,
        version = env!("CARGO_PKG_VERSION"),
        "serving"
    );
    server.run(|index, _| {
        let node = nodes[index].lock().expect("nothing panics while it holds this").take();
        node.expect("each loop starts once")
    })?;
    // What was begun is finished before the state folder's lock is released.
    drop(nodes);
    let _ = store_thread.join();
    tracing::info!("stopped");
    Ok(())
}

/// One gateway per loop, all made before the first client is served.
fn gateways(config: &GatewayConfig, count: usize) -> Result<Vec<Gateway>, Failure> {
    let unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let now = Instant::now();
    (0..count)
        .map(|index| {
            let node = Node { index: index as u16, count: count as u16 };
            Gateway::new(config.clone(), node, Box::new(OsEntropy), now, unix_ms as u64)
                .map_err(|error| Failure::Config(error.to_string()))
        })
        .collect()
}

/// 256 bits, in hexadecimal.
fn new_token() -> String {
    let mut bytes = [0; 32];
    OsEntropy.fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the operator sees on stdout: where to connect, and once the token.
fn announce(server: &Server, state: &StateDir, args: &ServeArgs, token: Option<&String>) {
    let mut text = format!("moorline gateway listening on ws://{}/ws\n", server.local_addr());
    if let Some(token) = token {
        text += &format!("token: {token}  (kept in {})\n", state.path().join("token").display());
    }
    let program = std::env::args().next().unwrap_or_else(|| "moorline".into());
    let credential = match (&args.token, &args.state_dir) {
        (Some(_), _) => " --token …".to_string(),
        (None, Some(path)) => format!(" --state-dir {}", path.display()),
        (None, None) => String::new(),
    };
    let address = reachable(server.local_addr());
    text += &format!("try: {program} chat ws://{address}/ws{credential}\n");
    let mut out = std::io::stdout();
    // A closed stdout is no reason not to serve.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
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
