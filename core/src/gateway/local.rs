//! Connections that only the gateway's own host can make, over a socket that the host guards.
//!
//! Who reaches that socket may read the gateway's files and end its process: asking for a credential
//! would keep nobody out who is not in. So a `connect` without one logs in there, as an owner, and
//! nothing that keeps strangers at bay stands in the way: neither places for who is not logged in, nor
//! the number of connections, lock-outs, rates, or memory that others fill; neither Host and Origin,
//! nor that the gateway begins or ends.
//!
//! Whether a connection is local is what the host says when it is accepted, and nothing else.

use super::Gateway;
use super::authenticate::Login;
use super::conn::{Conn, ConnId};
use super::fact::{Credential, Fact};
use super::principal::{Principal, Role};
use super::proof::Proof;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

/// What facts name as the other end of a local connection, which has no address: one that no socket
/// comes from.
pub const LOCAL_PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Who is logged in there without a credential.
const USER: &str = "host";

impl Gateway {
    /// As [`Gateway::connected`], for a socket that nobody reaches who may not do everything with this
    /// gateway, such as a Unix domain socket that its own user alone may open. A `connect` without a
    /// credential logs in there as the user `host`, an owner; one with a credential is judged as it is
    /// anywhere. Lists of who is connected do not have them, links are not kept for them, and they are
    /// left alone by [`Gateway::drain`]: the host closes them when that is done.
    pub fn connected_locally(&mut self, now: Instant, conn: ConnId) {
        let state = Conn { local: true, ..Conn::new(LOCAL_PEER, now, self.ms(now)) };
        self.conns.insert(conn, state);
        self.note(Fact::Connected { conn, peer: LOCAL_PEER });
    }

    pub(super) fn is_local(&self, conn: ConnId) -> bool {
        self.conns.get(&conn).is_some_and(|state| state.local)
    }

    /// Who a local connection without a credential is.
    pub(super) fn login_of_host(&self) -> Login {
        let principal = Principal { user: Arc::from(USER), role: Role::Owner, proof: Proof::Local };
        Login { principal, credential: Credential::Local, expires: None }
    }
}
