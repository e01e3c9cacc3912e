//! A device of the second dialect with a real key, and what it signs when it connects.
#![allow(dead_code)]

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// A device: its key is made of a number.
pub struct TestDevice {
    pair: Ed25519KeyPair,
    pub id: String,
    pub key: String,
}

/// What a connection was asked.
#[derive(Clone)]
pub struct Challenge {
    pub nonce: String,
    pub ts: u64,
}

/// What a client says. [`Hello::cli`] is the usual one.
#[derive(Clone)]
pub struct Hello {
    pub client: (&'static str, &'static str),
    pub platform: &'static str,
    pub family: Option<&'static str>,
    pub role: &'static str,
    pub scopes: Vec<&'static str>,
    pub auth: Value,
    /// Which version of the text is signed.
    pub version: &'static str,
    pub protocols: (u64, u64),
}

impl Hello {
    pub fn cli(token: &str, scopes: &[&'static str]) -> Self {
        Self {
            client: ("cli", "cli"),
            platform: "linux",
            family: None,
            role: "operator",
            scopes: scopes.into(),
            auth: json!({"token": token}),
            version: "v3",
            protocols: (4, 4),
        }
    }

    /// With nothing but a device token.
    pub fn by_token(token: &str, scopes: &[&'static str]) -> Self {
        Self { auth: json!({"deviceToken": token}), ..Self::cli("", scopes) }
    }

    pub fn node(token: &str) -> Self {
        let client = ("node-host", "node");
        Self { client, role: "node", ..Self::cli(token, &[]) }
    }

    /// The parameters of a client without a device.
    pub fn params(&self) -> Value {
        let mut client = json!({"id": self.client.0, "version": "1", "platform": self.platform,
            "mode": self.client.1});
        if let Some(family) = self.family {
            client["deviceFamily"] = json!(family);
        }
        json!({
            "minProtocol": self.protocols.0, "maxProtocol": self.protocols.1, "client": client,
            "role": self.role, "scopes": self.scopes, "auth": self.auth,
        })
    }

    /// The parameters of a device's client.
    pub fn signed(&self, device: &TestDevice, challenge: &Challenge) -> Value {
        let Challenge { nonce, ts } = challenge;
        let named = ["token", "deviceToken", "bootstrapToken"];
        let token = named.iter().find_map(|name| self.auth[name].as_str()).unwrap_or_default();
        let (client, mode) = self.client;
        let (role, scopes, id) = (self.role, self.scopes.join(","), &device.id);
        let version = self.version;
        let mut text =
            format!("{version}|{id}|{client}|{mode}|{role}|{scopes}|{ts}|{token}|{nonce}");
        if version == "v3" {
            let family = self.family.unwrap_or_default().to_lowercase();
            text = format!("{text}|{}|{family}", self.platform.to_lowercase());
        }
        let signature = BASE64.encode(device.pair.sign(text.as_bytes()));
        let mut params = self.params();
        params["device"] = json!({"id": id, "publicKey": device.key, "signature": signature,
            "signedAt": ts, "nonce": nonce});
        params
    }
}

impl TestDevice {
    pub fn new(number: u8) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[number; 32]).expect("32 bytes");
        let public = pair.public_key().as_ref();
        let id = Sha256::digest(public).iter().map(|byte| format!("{byte:02x}")).collect();
        let key = BASE64.encode(public);
        Self { pair, id, key }
    }
}
