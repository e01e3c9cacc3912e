//! What a text can be instead of a message: commands, and who lists them.

use super::super::Gateway;
use super::super::json::{self, Object};
use super::super::send::Cx;
use super::dispatch::{Call, Done};

/// A text that stops what is under way in its session.
const STOP: &str = "/stop";

/// Whether a text is the command to stop.
pub(super) fn is_stop(text: &str) -> bool {
    text.trim().eq_ignore_ascii_case(STOP)
}

pub(super) fn list(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    if let Some(to) = call.to.take() {
        gateway.reply_ok(cx, to, |_, out| {
            let mut object = Object::new(out);
            write(object.key("commands"));
            object.end();
        });
    }
    Ok(())
}

/// What a session offers: the models that there are, and the commands.
pub(super) fn metadata(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    if let Some(to) = call.to.take() {
        gateway.reply_ok(cx, to, |gateway, out| {
            let mut object = Object::new(out);
            gateway.write_models(object.key("models"));
            write(object.key("commands"));
            object.end();
        });
    }
    Ok(())
}

fn write(out: &mut String) {
    json::list(out, [STOP], |out, alias| {
        Object::new(out)
            .str("name", "stop")
            .str("nativeName", "stop")
            .list("textAliases", [alias], json::string)
            .str("description", "Stops what is under way in this session.")
            .str("category", "session")
            .str("source", "native")
            .str("scope", "both")
            .bool("acceptsArgs", false)
            .end();
    });
}
