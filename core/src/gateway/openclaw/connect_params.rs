//! What the parameters of `connect` may be, and what of them is of use.
//!
//! The schema is that of protocols 3 and 4 together: ids and modes of clients have come and gone between
//! them, members have only come.

use super::super::authenticate::MAX_TOKEN;
use super::super::config::Secret;
use super::client_info::{CLIENT, ClientInfo, MAYBE, WORD, owned};
use super::schema::{Field, Kind, Values};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Checked parameters of `connect`.
pub(in crate::gateway) struct ConnectParams {
    /// The protocols that the client speaks. It can be empty: then there is none to agree on.
    pub(in crate::gateway) protocols: RangeInclusive<u64>,
    /// What the client says it is.
    pub(in crate::gateway) client: ClientInfo,
    /// What it wants to be; none if there is no such role.
    pub(in crate::gateway) role: Option<PeerRole>,
    /// The scopes, in the order in which a device signs them.
    pub(in crate::gateway) scopes: Vec<Box<str>>,
    /// What it understands beyond the least.
    pub(in crate::gateway) caps: Vec<Box<str>>,
    /// What a node can be told to do.
    pub(in crate::gateway) commands: Vec<Box<str>>,
    /// What a node's operating system lets it do.
    pub(in crate::gateway) permissions: BTreeMap<Box<str>, bool>,
    /// Its proof to be a certain device.
    pub(in crate::gateway) device: Option<DeviceParams>,
    /// Its credentials.
    pub(in crate::gateway) auth: AuthParams,
}

/// What a peer is to the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerRole {
    /// Talks to agents and looks after the gateway.
    Operator,
    /// Does what it is told.
    Node,
    /// Runs agents.
    Worker,
}

/// A device's proof, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::gateway) struct DeviceParams {
    /// The hash of its key, as it says.
    pub(in crate::gateway) id: Box<str>,
    /// Its key.
    pub(in crate::gateway) public_key: Box<str>,
    /// Over a text that both sides make.
    pub(in crate::gateway) signature: Box<str>,
    /// When it has signed, in Unix milliseconds of the clock that the challenge came from.
    pub(in crate::gateway) signed_at: u64,
    /// Of the challenge; empty from old clients that did not wait for it.
    pub(in crate::gateway) nonce: Box<str>,
}

/// Credentials. An empty one is none.
#[derive(Default)]
pub(in crate::gateway) struct AuthParams {
    /// The shared secret, or a device token.
    pub(in crate::gateway) token: Option<Secret>,
    /// The shared secret again.
    pub(in crate::gateway) password: Option<Secret>,
    /// What the gateway gave this device.
    pub(in crate::gateway) device_token: Option<Secret>,
    /// What a new device was given to begin with.
    pub(in crate::gateway) bootstrap_token: Option<Secret>,
}

impl ConnectParams {
    /// # Errors
    /// What is wrong and where, for people.
    pub(in crate::gateway) fn read(raw: Option<&RawValue>) -> Result<Self, String> {
        let values = Values::read(raw, CONNECT)?;
        let protocol = |name| values.integer(name).unwrap_or_default().unsigned_abs();
        let words = |name| values.texts(name).into_iter().map(Into::into).collect();
        let client = values.object("client").ok_or("at /client: required")?;
        let role = values.text("role");
        Ok(Self {
            protocols: protocol("minProtocol")..=protocol("maxProtocol"),
            client: ClientInfo::of(&client).ok_or("at /client: required")?,
            role: PeerRole::parse(role.as_deref().unwrap_or("operator")),
            scopes: words("scopes"),
            caps: words("caps"),
            commands: words("commands"),
            permissions: values
                .raw("permissions")
                .and_then(|raw| serde_json::from_str(raw.get()).ok())
                .unwrap_or_default(),
            device: values.object("device").as_ref().map(DeviceParams::of),
            auth: values.object("auth").as_ref().map(AuthParams::of).unwrap_or_default(),
        })
    }
}

impl PeerRole {
    /// Every role.
    pub(in crate::gateway) const ALL: [Self; 3] = [Self::Operator, Self::Node, Self::Worker];

    /// The word as sent, and as records keep it.
    pub(in crate::gateway) const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Node => "node",
            Self::Worker => "worker",
        }
    }

    /// The role of this word.
    pub(in crate::gateway) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }
}

impl DeviceParams {
    fn of(values: &Values<'_>) -> Self {
        let text = |name| owned(values, name).unwrap_or_default();
        Self {
            id: text("id"),
            public_key: text("publicKey"),
            signature: text("signature"),
            signed_at: values.integer("signedAt").unwrap_or_default().unsigned_abs(),
            nonce: values.text("nonce").map(|nonce| nonce.trim().into()).unwrap_or_default(),
        }
    }
}

impl AuthParams {
    fn of(values: &Values<'_>) -> Self {
        let secret =
            |name| values.text(name).filter(|text| !text.is_empty()).map(|text| Secret::new(&text));
        Self {
            token: secret("token"),
            password: secret("password"),
            device_token: secret("deviceToken"),
            bootstrap_token: secret("bootstrapToken"),
        }
    }

    /// The one that a device signs together with who it is.
    pub(in crate::gateway) fn signed(&self) -> &str {
        let first = self.token.as_ref().or(self.device_token.as_ref());
        first.or(self.bootstrap_token.as_ref()).map_or("", Secret::expose)
    }
}

const SECRET: Kind = Kind::Text { min: 0, max: MAX_TOKEN };

/// Whole numbers that JSON can carry.
const EXACT: i64 = 1 << 53;

const CONNECT: &[Field] = &[
    Field::required("minProtocol", Kind::Integer { min: 1, max: EXACT }),
    Field::required("maxProtocol", Kind::Integer { min: 1, max: EXACT }),
    Field::required("client", Kind::Object(CLIENT)),
    Field::optional("role", WORD),
    Field::optional("scopes", Kind::List(&WORD, 64)),
    Field::optional("caps", Kind::List(&WORD, 128)),
    Field::optional("commands", Kind::List(&WORD, 256)),
    Field::optional("permissions", Kind::Map(&Kind::Boolean, 256)),
    Field::optional("pathEnv", Kind::Text { min: 0, max: 32 * 1024 }),
    Field::optional("computerUse", Kind::Any),
    Field::optional("workerRuns", Kind::Any),
    Field::optional("modelCatalog", Kind::Any),
    Field::optional("device", Kind::Object(DEVICE)),
    Field::optional("auth", Kind::Object(AUTH)),
    Field::optional("locale", MAYBE),
    Field::optional("userAgent", Kind::Text { min: 0, max: 1024 }),
];

const DEVICE: &[Field] = &[
    Field::required("id", WORD),
    Field::required("publicKey", WORD),
    Field::required("signature", WORD),
    Field::required("signedAt", Kind::Integer { min: 0, max: EXACT }),
    Field::optional("nonce", MAYBE),
];

const AUTH: &[Field] = &[
    Field::optional("token", SECRET),
    Field::optional("password", SECRET),
    Field::optional("deviceToken", SECRET),
    Field::optional("bootstrapToken", SECRET),
    Field::optional("approvalRuntimeToken", SECRET),
    Field::optional("agentRuntimeIdentityToken", SECRET),
];

#[cfg(test)]
mod tests {
    use super::super::client_info::{CLIENT_IDS, CLIENT_MODES};
    use super::*;

    const LEAST: &str = r#""minProtocol":3,"maxProtocol":4,
        "client":{"id":"cli","version":"dev","platform":"linux","mode":"probe"}"#;

    fn read(text: &str) -> Result<ConnectParams, String> {
        let text = format!("{{{text}}}");
        let raw: &RawValue = serde_json::from_str(&text).expect("JSON");
        ConnectParams::read(Some(raw))
    }

    fn fault(text: &str) -> String {
        read(text).err().unwrap_or_else(|| panic!("{text} has passed"))
    }

    #[test]
    fn the_least_of_a_client_is_an_operator_without_scopes_and_credentials() {
        let params = read(LEAST).expect("fine");
        assert_eq!(params.protocols, 3..=4);
        assert_eq!(params.role, Some(PeerRole::Operator));
        assert!(params.scopes.is_empty() && params.device.is_none());
        assert_eq!(params.auth.signed(), "");
        assert_eq!((params.client.id, params.client.mode), ("cli", "probe"));
        assert!(!params.client.is_page());
    }

    #[test]
    fn a_client_with_everything_is_read() {
        let params = read(
            r#""minProtocol":4,"maxProtocol":4,"client":{"id":"openclaw-control-ui",
            "displayName":"Page","version":"2026.9.6","buildId":"b","platform":"MacIntel",
            "deviceFamily":"","modelIdentifier":"m","timeZone":"Etc/UTC","mode":"webchat",
            "instanceId":"i"},"role":"node","scopes":["operator.write","operator.read"],
            "caps":["tool-events"],"commands":["run"],"permissions":{"camera":true},
            "pathEnv":"/bin","computerUse":{"x":1},"workerRuns":[],"modelCatalog":{},
            "device":{"id":"d","publicKey":"k","signature":"s","signedAt":7,"nonce":" n "},
            "auth":{"token":"t","password":"p","deviceToken":"d","bootstrapToken":"b",
            "approvalRuntimeToken":"a","agentRuntimeIdentityToken":"r"},"locale":"en",
            "userAgent":"Browser/1""#,
        )
        .expect("fine");
        assert_eq!(params.role, Some(PeerRole::Node));
        assert_eq!(params.scopes, ["operator.write".into(), "operator.read".into()]);
        assert!(params.caps.contains(&"tool-events".into()));
        assert!(!params.caps.contains(&"tool".into()));
        assert_eq!(params.permissions, BTreeMap::from([("camera".into(), true)]));
        assert!(params.client.is_control_ui() && params.client.is_page());
        assert_eq!(params.client.device_family, None);
        assert_eq!(
            params.device.map(|device| (device.signed_at, device.nonce)),
            Some((7, "n".into()))
        );
        assert!(params.auth.password.is_some_and(|secret| secret.expose() == "p"));
    }

    #[test]
    fn what_a_device_signs_is_the_first_credential_that_is_not_a_password() {
        for (auth, signed) in [
            (r#"{"token":"t","deviceToken":"d","bootstrapToken":"b"}"#, "t"),
            (r#"{"token":"","deviceToken":"d","bootstrapToken":"b"}"#, "d"),
            (r#"{"token":null,"password":"p","bootstrapToken":"b"}"#, "b"),
            (r#"{"password":"p"}"#, ""),
        ] {
            let params = read(&format!(r#"{LEAST},"auth":{auth}"#)).expect("fine");
            assert_eq!(params.auth.signed(), signed);
        }
    }

    #[test]
    fn every_client_there_has_been_is_known() {
        for id in CLIENT_IDS {
            let text = LEAST.replace(r#""cli""#, &format!("{id:?}"));
            assert_eq!(read(&text).expect("fine").client.id, *id);
        }
        for mode in CLIENT_MODES {
            let text = LEAST.replace("probe", mode);
            assert_eq!(read(&text).expect("fine").client.mode, *mode);
        }
        assert!(
            fault(&LEAST.replace("\"cli\"", "\"curl\""))
                .starts_with("at /client/id: must be one of")
        );
    }

    #[test]
    fn faults_say_where() {
        for (text, says) in [
            (LEAST.replace("3", "0"), "at /minProtocol: must be an integer from 1"),
            (LEAST.replace("4", "\"4\""), "at /maxProtocol: must be an integer from 1"),
            (LEAST.replace("\"dev\"", "\"\""), "at /client/version: must be a string of 1"),
            (LEAST.replace("version", "release"), "at /client/release: unknown key"),
            (format!(r#"{LEAST},"scopes":[1]"#), "at /scopes/0: must be a string"),
            (format!(r#"{LEAST},"token":"x""#), "at /token: unknown key"),
            (format!(r#"{LEAST},"device":{{"id":"x"}}"#), "at /device/publicKey: required"),
            (format!(r#"{LEAST},"auth":{{"token":1}}"#), "at /auth/token: must be a string"),
            (
                format!(r#"{LEAST},"auth":{{"token":"{}"}}"#, "t".repeat(4097)),
                "at /auth/token: must",
            ),
            (String::new(), "at /minProtocol: required"),
        ] {
            assert!(fault(&text).starts_with(says), "{} of {text}", fault(&text));
        }
    }

    #[test]
    fn a_role_there_is_not_is_left_to_who_refuses_it() {
        let params = read(&format!(r#"{LEAST},"role":"king""#)).expect("fine");
        assert_eq!(params.role, None);
        for role in PeerRole::ALL {
            assert_eq!(PeerRole::parse(role.as_str()), Some(role));
        }
    }

    #[test]
    fn protocols_that_cannot_be_are_left_to_who_refuses_them() {
        let params = read(&LEAST.replace("3", "9")).expect("fine");
        assert!(params.protocols.is_empty());
    }
}
