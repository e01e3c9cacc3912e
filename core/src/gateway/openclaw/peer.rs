//! What the gateway knows about a connection that speaks this dialect.

use super::super::principal::Role;
use super::client_info::ClientInfo;
use super::connect_params::PeerRole;
use super::node_surface::Manifest;
use super::presence::Shown;
use super::scopes::Scopes;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// A version of the protocol.
#[derive(Debug, Copy, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::gateway) enum Protocol {
    /// Events with the whole text so far; frames without unknown members.
    V3,
    /// Events with what is new.
    V4,
}

impl Protocol {
    /// The number as sent.
    pub(in crate::gateway) const fn number(self) -> u64 {
        match self {
            Self::V3 => 3,
            Self::V4 => 4,
        }
    }

    /// The newest that both sides speak.
    pub(in crate::gateway) fn agreed(offered: &RangeInclusive<u64>) -> Option<Self> {
        [Self::V4, Self::V3].into_iter().find(|known| offered.contains(&known.number()))
    }
}

/// A connection that has logged in.
#[derive(Debug)]
pub(in crate::gateway) struct Peer {
    pub(in crate::gateway) protocol: Protocol,
    pub(in crate::gateway) role: PeerRole,
    /// What it says it is.
    pub(in crate::gateway) client: Arc<ClientInfo>,
    /// What it has got of what it asked for.
    pub(in crate::gateway) scopes: Scopes,
    /// Its proven device.
    pub(in crate::gateway) device: Option<Arc<str>>,
    /// When that was let in first, in Unix milliseconds: one that was removed and let in again is another.
    /// None where nobody needs to be let in.
    pub(in crate::gateway) paired: Option<u64>,
    /// What it says it can do, if it is a node.
    pub(in crate::gateway) manifest: Option<Arc<Manifest>>,
    /// It shows what tools do.
    pub(in crate::gateway) tools: bool,
    /// It wants to know of every session.
    pub(in crate::gateway) all_sessions: bool,
    /// It wants to know what is said in these.
    pub(in crate::gateway) sessions: BTreeSet<Arc<str>>,
    /// Calls that its scopes did not allow.
    pub(in crate::gateway) refused: u32,
    /// Calls of `agent` whose second answer is to come.
    pub(in crate::gateway) awaited: usize,
}

/// What of all events a connection gets, and in which form.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub(in crate::gateway) struct View {
    pub(in crate::gateway) protocol: Protocol,
    /// It sees conversations and who is connected.
    pub(in crate::gateway) reads: bool,
    /// It shows what tools do.
    pub(in crate::gateway) tools: bool,
}

impl Peer {
    /// Its credential allows no more than this role now: gives the role that is left.
    pub(in crate::gateway) fn narrow(&mut self, role: Role) -> Role {
        self.scopes = self.scopes.within(Scopes::of_role(role));
        self.scopes.role(role).unwrap_or(Role::Viewer)
    }

    /// What others may see of it.
    pub(in crate::gateway) fn shown(&self) -> Arc<Shown> {
        let (client, device) = (self.client.clone(), self.device.clone());
        Arc::new(Shown { client, role: self.role, scopes: self.scopes, device })
    }

    /// The name and the words of a node that can be told to do something: it must have proved who it is.
    pub(super) fn as_node(&self) -> Option<(Arc<str>, Arc<Manifest>)> {
        Some((self.device.clone()?, self.manifest.clone()?))
    }

    pub(in crate::gateway) fn view(&self) -> View {
        let reads = self.role == PeerRole::Operator && self.scopes.allows(Scopes::READ);
        View { protocol: self.protocol, reads, tools: self.tools }
    }
}
