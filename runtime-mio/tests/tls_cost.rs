//! What TLS costs, measured: run it with `--release -- --ignored --nocapture`.

#[path = "tls/peer.rs"]
mod peer;
#[path = "tls/support.rs"]
mod support;

use moorline_core::Limits;
use moorline_mio::{ServerOptions, TlsOptions};
use peer::TlsPeer;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::certificates::Authority;
use support::{Echo, Peer, Running};

/// How long each is measured.
const TIME: Duration = Duration::from_secs(3);

/// How often it can be done in a second.
fn rate(mut act: impl FnMut()) -> f64 {
    let began = Instant::now();
    let mut count = 0;
    while began.elapsed() < TIME {
        act();
        count += 1;
    }
    f64::from(count) / began.elapsed().as_secs_f64()
}

#[test]
#[ignore = "it measures, and proves nothing"]
fn echoes_and_handshakes_per_second() {
    let authority = Authority::new();
    let tls = TlsOptions::new(Arc::new(authority.issue().server()));
    let limits = Limits::default();
    let plain = Running::echo(1, limits.clone());
    let options = ServerOptions { tls: Some(tls), limits, ..ServerOptions::default() };
    let secure = Running::start(options, || Echo);
    let config = Arc::new(authority.client());
    for size in [32, 64 * 1024] {
        let payload = vec![7; size];
        let mut peer = Peer::connect(plain.address);
        let without = rate(|| {
            peer.send(2, &payload);
            assert_eq!(peer.read_message().len(), size);
        });
        let mut peer = TlsPeer::connect(secure.address, &config);
        let with = rate(|| {
            peer.send(2, &payload);
            assert_eq!(peer.read_message().len(), size);
        });
        println!("{size} bytes there and back: {without:.0}/s plain, {with:.0}/s by TLS");
    }
    let mut full = (*config).clone();
    full.resumption = moorline_mio::rustls::client::Resumption::disabled();
    let full = Arc::new(full);
    let handshakes = rate(|| drop(TlsPeer::connect(secure.address, &full)));
    let resumed = rate(|| drop(TlsPeer::connect(secure.address, &config)));
    println!("{handshakes:.0}/s handshakes, {resumed:.0}/s where the session is offered again");
}
