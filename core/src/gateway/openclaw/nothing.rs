//! Methods about what this gateway does not have. Clients ask for it at their start; the answer is the
//! truth, and what would need it is refused.

use super::super::Gateway;
use super::super::json::Object;
use super::super::refusal::{Code, Refusal};
use super::super::send::Cx;
use super::dispatch::{Call, Done};

macro_rules! answers {
    ($($(#[$doc:meta])* $name:ident $json:literal)*) => {
        $(
            $(#[$doc])*
            pub(super) fn $name(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
                if let Some(to) = call.to.take() {
                    gateway.reply_ok(cx, to, |_, out| out.push_str($json));
                }
                Ok(())
            }
        )*
    };
}

answers! {
    /// Agents ask nothing but by what they say.
    questions r#"{"questions":[]}"#
    /// They ask for no leave either.
    approvals "[]"
    suggestions r#"{"suggestions":[]}"#
    groups r#"{"groups":[],"sectionOrder":[]}"#
    progress r#"{"card":null}"#
    preferences r#"{"status":"ok","entries":{}}"#
    /// It is updated by whoever has installed it.
    update r#"{"sentinel":null,"updateAvailable":null,"effectiveChannel":"stable"}"#
    tasks r#"{"tasks":[]}"#
    cron r#"{"jobs":[]}"#
    cron_status r#"{"enabled":false,"jobs":0,"nextWakeAtMs":null}"#
    /// Agents here are asked, they do not ask by themselves.
    last_heartbeat "null"
}

pub(super) fn channels(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let now_ms = gateway.ms(cx.now);
    if let Some(to) = call.to.take() {
        gateway.reply_ok(cx, to, |_, out| {
            Object::new(out)
                .num("ts", now_ms)
                .raw("channelOrder", "[]")
                .raw("channelLabels", "{}")
                .raw("channels", "{}")
                .raw("channelAccounts", "{}")
                .raw("channelDefaultAccountId", "{}")
                .end();
        });
    }
    Ok(())
}

pub(super) fn channel(_: &mut Gateway, _: &mut Cx<'_>, _: &mut Call<'_>) -> Done {
    let text = "no channel: this gateway reaches nobody but its clients; say it with chat.send";
    Err(Refusal::new(Code::Unavailable, text).for_good())
}

pub(super) fn system_event(_: &mut Gateway, _: &mut Cx<'_>, _: &mut Call<'_>) -> Done {
    let text = "agents here have no heartbeat that events could wait for; use wake with mode now";
    Err(Refusal::new(Code::Unavailable, text).for_good())
}
