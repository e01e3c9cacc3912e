//! The gateway that client commands mean where no URL says so: the one that runs with a state folder.

use crate::config::{Settings, Sources};
use crate::{admin_socket, credentials, dial, serve, state_dir};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// The state folder that is meant: the one that is named, or else the one that a gateway would take here.
pub(crate) fn state_folder(named: Option<PathBuf>, config: Option<&Path>) -> Option<PathBuf> {
    // A configuration that cannot be read is no reason not to reach who runs by an earlier one.
    let configured = || {
        let sources = Sources::of_environment(config.map(PathBuf::from), Vec::new());
        sources.load_elsewhere().ok().and_then(|loaded| loaded.settings.state_dir)
    };
    credentials::named_state_dir(named).or_else(configured).or_else(state_dir::default_path)
}

/// Whether a gateway runs with this state folder.
pub(crate) fn is_there(state: &Path) -> bool {
    // A lock that is held in another container is in no table here.
    matches!(state_dir::holder(state), Ok(Some(_))) || admin_socket::connect(state).is_ok()
}

/// Where the gateway serves that runs with this state folder.
pub(crate) fn url(state: &Path) -> Option<String> {
    state_dir::noted_url(state).filter(|_| is_there(state))
}

/// Whether all of these addresses are where the gateway listens that runs with this state folder.
pub(crate) fn is_at(state: &Path, addresses: &[SocketAddr]) -> bool {
    let listens = url(state).and_then(|text| dial::url(&text).ok()).and_then(|url| {
        let host: IpAddr = url.host().parse().ok()?;
        Some(SocketAddr::new(host, url.port()))
    });
    listens.is_some_and(|listens| addresses.iter().all(|address| *address == listens))
}

/// The URL that a command has without one: that of the gateway that runs with the state folder, or else the one
/// that the configuration here describes.
pub(crate) fn default_url(named: Option<PathBuf>) -> String {
    let state = state_folder(named.clone(), None);
    state.as_deref().and_then(url).unwrap_or_else(|| {
        let flag = named.map(|path| ("--state-dir", "state_dir", vec![path.display().to_string()]));
        let sources = Sources::of_environment(None, flag.into_iter().collect());
        configured_url(&sources.load_elsewhere().map(|loaded| loaded.settings).unwrap_or_default())
    })
}

/// Where a gateway with these settings serves.
pub(crate) fn configured_url(settings: &Settings) -> String {
    serve::url(settings, settings.listen())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state_dir::StateDir;

    #[test]
    fn a_gateway_away_from_loopback_is_known_by_its_address_as_long_as_it_runs() {
        let path = std::env::temp_dir().join(format!("moorline-running-{}", std::process::id()));
        for (noted, its, others) in [
            ("ws://192.0.2.1:7/ws", "192.0.2.1:7", ["192.0.2.1:8", "192.0.2.2:7"]),
            ("wss://[2001:db8::1]:7/ws", "[2001:db8::1]:7", ["[2001:db8::2]:7", "[2001:db8::1]:8"]),
        ] {
            let address = |text: &str| -> SocketAddr { text.parse().expect("an address") };
            let state = StateDir::open(Some(path.clone()), None).expect("a folder");
            assert!(!is_at(&path, &[address(its)]), "it has said nothing yet");
            state.note_url(noted).expect("written");
            assert_eq!(url(&path).as_deref(), Some(noted));
            assert!(is_at(&path, &[address(its)]));
            for other in others {
                assert!(!is_at(&path, &[address(its), address(other)]), "{other}");
            }
            drop(state);
            assert!(!is_at(&path, &[address(its)]) && url(&path).is_none());
            std::fs::remove_dir_all(&path).expect("removed");
        }
    }
}
