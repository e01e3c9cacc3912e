//! `config.get`: the configuration that holds, in the shape that clients of this dialect read.

use super::super::Gateway;
use super::super::effective;
use super::super::json::Object;
use super::super::send::Cx;
use super::dispatch::{Call, Done};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// What clients know as the place of a secret.
const MASK: &str = "__OPENCLAW_REDACTED__";

/// Who sees everything sees all of it but secrets; others see what every client is told anyway.
pub(super) fn get(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let all = call.who.role().sees_all();
    if let Some(to) = call.to.take() {
        gateway.reply_ok(cx, to, |gateway, out| {
            let mut config = String::new();
            if all {
                effective::write(&mut config, &gateway.config.raw, MASK);
            } else {
                let shown = Object::new(&mut config).str("version", &gateway.config.raw.version);
                shown
                    .list("agents", &gateway.config.raw.agents, |out, agent| {
                        Object::new(out).str("id", &agent.id).str("name", &agent.name).end();
                    })
                    .end();
            }
            let mut hash = String::new();
            for byte in Sha256::digest(&config) {
                write!(hash, "{byte:02x}").expect("a string takes everything");
            }
            Object::new(out)
                .str("path", "")
                .bool("exists", true)
                .bool("valid", true)
                .raw("raw", "null")
                .raw("parsed", &config)
                .raw("config", &config)
                .str("hash", &hash)
                .raw("issues", "[]")
                .raw("warnings", "[]")
                .raw("legacyIssues", "[]")
                .end();
        });
    }
    Ok(())
}
