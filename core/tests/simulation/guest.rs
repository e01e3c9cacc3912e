//! A client of the second dialect: what it knows, and what it waits for.

use super::guest_reader::GuestReader;
use crate::signing::{Challenge, Hello, TestDevice};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// What a client is there for.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub enum Part {
    /// It talks to agents, and tells nodes what to do.
    Operator,
    /// It approves what nodes ask, and tells them what to do.
    Keeper,
    /// It does what it is told.
    Node,
}

/// Who keeps nodes, and whose nodes are.
pub const KEEPER: &str = "keeper";

/// What every node can do.
pub const COMMAND: &str = "camera.snap";

/// Tokens of one device in one role that are valid at once: one more makes the oldest invalid.
const TOKENS: u32 = 4;

pub struct Guest {
    pub part: Part,
    pub user: &'static str,
    pub protocol: u64,
    pub device: Option<TestDevice>,
    /// The token that its device was given last, and how often it has come by the secret since.
    token: Option<(String, u32)>,
    pub wire: Option<u64>,
    pub logged_in: bool,
    pub reader: GuestReader,
    /// Requests without an answer, by their ids.
    pub asked: BTreeMap<String, Asks>,
    /// What it was told to do and has not answered: the name, and the number it was given.
    pub told: BTreeMap<String, u64>,
    /// Messages that may have to be sent again, by their place in the ledger.
    pub unsettled: BTreeSet<usize>,
    pub requests: u64,
    pub failures: u32,
    pub stays: bool,
    pub armed: Option<Instant>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asks {
    Connect(Login),
    /// What was said, by its place in the ledger.
    Send(usize),
    /// The same with two answers. `accepted`: one has come.
    Agent {
        number: usize,
        accepted: bool,
    },
    History,
    Invoke(u64),
    Requests,
    Result,
    Other,
}

/// What a client logs in by.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub enum Login {
    Wrong,
    Secret,
    /// `must`: nothing speaks against it.
    Token {
        must: bool,
    },
}

/// The shared secret of a user.
pub fn secret(user: &str) -> String {
    format!("sesame-{user}")
}

impl Guest {
    pub fn new(part: Part, user: &'static str, protocol: u64, device: Option<u8>) -> Self {
        Self {
            part,
            user,
            protocol,
            device: device.map(TestDevice::new),
            token: None,
            wire: None,
            logged_in: false,
            reader: GuestReader::default(),
            asked: BTreeMap::new(),
            told: BTreeMap::new(),
            unsettled: BTreeSet::new(),
            requests: 0,
            failures: 0,
            stays: true,
            armed: None,
        }
    }

    /// The parameters of its `connect`, and what it logs in by.
    pub fn hello(&mut self, challenge: &Challenge, wrong: bool, fresh: bool) -> (Value, Login) {
        let secret = secret(self.user);
        let (client, role, scopes) = match self.part {
            Part::Node => (("node-host", "node"), "node", vec![]),
            Part::Keeper => (("cli", "cli"), "operator", vec!["operator.admin"]),
            Part::Operator if self.device.is_some() => {
                (("openclaw-tui", "ui"), "operator", vec!["operator.read", "operator.write"])
            }
            Part::Operator => (("cli", "cli"), "operator", vec!["operator.write"]),
        };
        let token = self.token.as_ref().filter(|_| !fresh && !wrong);
        let (auth, login) = match token {
            Some((token, secrets)) => {
                let login = Login::Token { must: *secrets < TOKENS };
                (json!({"deviceToken": token}), login)
            }
            None if wrong => (json!({"token": "guessed"}), Login::Wrong),
            None => (json!({"token": secret}), Login::Secret),
        };
        if let (Some((_, secrets)), Login::Secret) = (&mut self.token, login) {
            *secrets += 1;
        }
        let hello = Hello {
            client,
            platform: "linux",
            family: None,
            role,
            scopes,
            auth,
            version: if self.protocol == 3 { "v2" } else { "v3" },
            protocols: (3, self.protocol),
        };
        let mut params = match &self.device {
            Some(device) => hello.signed(device, challenge),
            None => hello.params(),
        };
        if self.part == Part::Node {
            params["commands"] = json!([COMMAND]);
            params["client"]["displayName"] = json!("a camera");
        }
        (params, login)
    }

    /// Its `connect` has succeeded. Gives the token that it was told, if that is a new one.
    pub fn joined(&mut self, payload: &Value) -> Option<String> {
        self.logged_in = true;
        self.failures = 0;
        self.reader = GuestReader::default();
        let token = payload["auth"]["deviceToken"].as_str()?;
        if self.token.as_ref().is_some_and(|(known, _)| known == token) {
            return None;
        }
        self.token = Some((token.to_owned(), 0));
        Some(token.to_owned())
    }

    /// Its token will not do.
    pub fn forget_token(&mut self) {
        self.token = None;
    }

    /// Its connection is no use any more: what was asked on it has no answer.
    pub fn offline(&mut self) {
        self.wire = None;
        self.logged_in = false;
        self.asked.clear();
        self.told.clear();
    }

    /// Messages that it is not asking about at present.
    pub fn to_retry(&self) -> Vec<usize> {
        let asks = |at: &usize| {
            self.asked.values().any(|asks| match asks {
                Asks::Send(number) | Asks::Agent { number, .. } => number == at,
                _ => false,
            })
        };
        self.unsettled.iter().copied().filter(|at| !asks(at)).collect()
    }
}
