//! Who is logged in, and the proof that somebody is.

use super::conn::Conn;
use super::proof::Proof;
use std::fmt;
use std::sync::Arc;

/// What somebody may do. Each role of a client includes those before it.
#[derive(Debug, Copy, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Answers for agents: a worker. It may do nothing that a client may, nor a client what it may.
    Agent,
    /// Reads.
    Viewer,
    /// Talks to agents.
    Operator,
    /// Sees and changes everything of every user.
    Admin,
    /// An admin that is named in the configuration.
    Owner,
}

impl Role {
    /// The name as sent.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }

    /// The role of a client of this name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Viewer, Self::Operator, Self::Admin, Self::Owner]
            .into_iter()
            .find(|role| role.as_str() == name)
    }

    /// Whether this role may do what needs that one.
    pub const fn may(self, needed: Self) -> bool {
        match (self, needed) {
            (Self::Agent, Self::Agent) => true,
            (Self::Agent, _) | (_, Self::Agent) => false,
            (role, needed) => role as u8 >= needed as u8,
        }
    }

    /// Whether somebody else's sessions, users and addresses are open to this role.
    pub const fn sees_all(self) -> bool {
        matches!(self, Self::Admin | Self::Owner)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A user in a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The user id: what sessions belong to.
    pub user: Arc<str>,
    /// What the user may do.
    pub role: Role,
    /// What the user has logged in by.
    pub proof: Proof,
}

/// The proof that a connection is logged in. Only this file makes one, and only from a connection
/// that has a principal: a handler that takes it cannot be reached without login.
#[derive(Debug)]
pub(super) struct Authenticated {
    principal: Principal,
}

impl Authenticated {
    pub(super) fn of(conn: &Conn) -> Option<Self> {
        conn.principal.clone().map(|principal| Self { principal })
    }

    pub(super) fn principal(&self) -> &Principal {
        &self.principal
    }

    pub(super) fn user(&self) -> &Arc<str> {
        &self.principal.user
    }

    pub(super) fn role(&self) -> Role {
        self.principal.role
    }
}
