//! What nodes say: answers, news of their machines, and what this gateway has no use for.

use super::super::Gateway;
use super::super::json::Object;
use super::super::refusal::Refusal;
use super::super::send::Cx;
use super::dispatch::{Call, Done};
use super::node_invoke::Answered;
use super::node_methods::text;
use serde_json::value::RawValue;
use std::sync::Arc;

/// Bytes of what a node tells of its machine: a screen of numbers.
const MAX_STATS: usize = 16 * 1024;

/// `node.invoke.result`.
pub(super) fn result(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let node = own_device(gateway, call)?;
    if *text(call, "nodeId") != *node {
        return Err(Refusal::invalid("nodeId is not this node's"));
    }
    let id = text(call, "id");
    let error = call.values.object("error");
    let part = |name| error.as_ref().and_then(|error| error.text(name));
    let (code, message) = (part("code"), part("message"));
    let payload_json = call.values.text("payloadJSON");
    let answered = Answered {
        payload: call.values.raw("payload").filter(|payload| payload.get() != "null"),
        payload_json: payload_json.as_deref(),
        error: (call.values.flag("ok") != Some(true)).then(|| {
            let code = code.as_deref().filter(|code| !code.is_empty());
            let message = message.as_deref().filter(|message| !message.is_empty());
            (code.unwrap_or("FAILED"), message.unwrap_or("the node could not do it"))
        }),
    };
    // Who has waited may have gone, or the time was over: the node cannot know.
    let told = gateway.node_answered(cx, call.conn, (&node, &id), &answered)?;
    if let Some(to) = call.to.take() {
        gateway.reply_ok(cx, to, |_, out| {
            let object = Object::new(out).bool("ok", true);
            if told { object } else { object.bool("ignored", true) }.end();
        });
    }
    Ok(())
}

/// `node.event`.
pub(super) fn event(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let name = text(call, "event");
    let said = match call.values.text("payloadJSON") {
        Some(said) => Some(said),
        None => call.values.raw("payload").map(|said| said.get().into()),
    };
    let said = said.as_deref().map(str::trim).filter(|said| said.len() <= MAX_STATS);
    let handled = match (&*name, said) {
        ("node.host.stats", Some(said)) if serde_json::from_str::<&RawValue>(said).is_ok() => {
            gateway.node_stats(cx, call.conn, said)
        }
        _ => false,
    };
    if let Some(to) = call.to.take() {
        gateway.reply_ok(cx, to, |_, out| {
            Object::new(out).bool("ok", true).str("event", &name).bool("handled", handled).end();
        });
    }
    Ok(())
}

/// `node.runnerInventory.update`: whoever shows what nodes can run asks anew.
pub(super) fn inventory(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let name = "node.runnerInventory.changed";
    if let Some(node) = gateway.may_pass_on(cx, call.conn, name) {
        let mut payload = String::new();
        Object::new(&mut payload).str("nodeId", &node).end();
        gateway.tell_everywhere(cx, name, payload);
    }
    noted(gateway, cx, call)
}

/// What has no meaning here is no mistake of the node's.
pub(super) fn noted(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    if let Some(to) = call.to.take() {
        gateway.reply_ok(cx, to, |_, out| out.push_str(r#"{"ok":true}"#));
    }
    Ok(())
}

fn own_device(gateway: &Gateway, call: &Call<'_>) -> Result<Arc<str>, Refusal> {
    let peer = gateway.conns.get(&call.conn).and_then(|conn| conn.openclaw.as_ref());
    let device = peer.and_then(|peer| peer.device.clone());
    device.ok_or_else(|| Refusal::invalid("a node without a device is told nothing"))
}
