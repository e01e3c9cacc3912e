//! `gateway.jwt`: whose JSON Web Tokens are believed.

use super::secret::NamedSecret;
use super::slot::{Context, Wrong, read_secret};
use super::tree::{Member, Node, Value};
use moorline_core::gateway::{JwtAlg, JwtKey};
use serde_json::{Value as Json, json};

/// A key, and what may be shown of it.
#[derive(Clone)]
pub(crate) struct NamedJwtKey {
    pub(crate) key: JwtKey,
    fingerprint: String,
}

/// What may stand there.
pub(super) const ALLOWED: &str =
    "a list of objects {alg, key, iss, aud, role_claim, user_claim}, the last two optional";

const SECRET: &str = "a text, {file: \"path\"} or {env: \"NAME\"}";

impl NamedJwtKey {
    pub(super) fn show(&self) -> Json {
        json!({
            "alg": self.key.alg.as_str(),
            "key": self.fingerprint,
            "iss": self.key.issuer,
            "aud": self.key.audience,
            "role_claim": self.key.role_claim,
            "user_claim": self.key.user_claim,
        })
    }

    pub(super) fn read(node: &Node, context: &mut Context<'_>) -> Result<Self, Wrong> {
        let wrong = |at, message: String| Wrong { at, message };
        let Value::Object(members) = &node.value else {
            let message = format!("expected {ALLOWED}, found {} in it", node.value.kind());
            return Err(wrong(node.at, message));
        };
        let mut known: [(&str, Option<&Node>); 6] =
            ["alg", "key", "iss", "aud", "role_claim", "user_claim"].map(|name| (name, None));
        for Member { at, key, node } in members {
            match known.iter_mut().find(|(name, _)| name == key) {
                None => {
                    let message = format!("no key {key:?} belongs here, only {ALLOWED}");
                    return Err(wrong(*at, message));
                }
                Some((_, Some(_))) => {
                    return Err(wrong(*at, format!("{key} stands here twice")));
                }
                Some((_, place)) => *place = Some(node),
            }
        }
        let [alg, key, issuer, audience, role_claim, user_claim] = known;
        let needed = |(name, found): (&str, Option<&'_ Node>)| {
            found.cloned().ok_or_else(|| wrong(node.at, format!("{name} is missing")))
        };
        let text = |node: &Node| match &node.value {
            Value::Text(text) => Ok(text.clone()),
            other => Err(wrong(node.at, format!("expected a text, found {}", other.kind()))),
        };
        let or = |(_, found): (&str, Option<&Node>), default: &str| {
            found.map_or_else(|| Ok(default.to_string()), text)
        };
        let alg_node = needed(alg)?;
        let alg = JwtAlg::parse(&text(&alg_node)?).ok_or_else(|| {
            let all = JwtAlg::ALL.map(JwtAlg::as_str).join(", ");
            wrong(alg_node.at, format!("expected one of {all}"))
        })?;
        let key_node = needed(key)?;
        let warnings = context.warnings.len();
        let NamedSecret { secret, fingerprint } = read_secret(&key_node, SECRET, context)?;
        if alg != JwtAlg::Hs256 {
            // Everybody may read a public key.
            context.warnings.truncate(warnings);
        }
        let key = JwtKey {
            alg,
            key: secret,
            issuer: text(&needed(issuer)?)?,
            audience: text(&needed(audience)?)?,
            role_claim: or(role_claim, "role")?,
            user_claim: or(user_claim, "sub")?,
        };
        key.check().map_err(|error| wrong(key_node.at, error.to_string()))?;
        Ok(Self { key, fingerprint: format!("sha256:{fingerprint}") })
    }

    /// Whether this entry of a file holds the secret itself.
    pub(super) fn is_inline_secret(node: &Node) -> bool {
        let Value::Object(members) = &node.value else { return false };
        let is_text = |name: &str, wanted: Option<&str>| {
            members.iter().any(|member| {
                let text = match &member.node.value {
                    Value::Text(text) => text,
                    _ => return false,
                };
                member.key == name && wanted.is_none_or(|wanted| text == wanted)
            })
        };
        is_text("alg", Some("HS256")) && is_text("key", None)
    }
}
