//! The methods of the host: what ends, reloads or unlocks the whole process. They are none of the table
//! that everybody sees, and only a [local](super::Gateway::connected_locally) connection that has logged
//! in without a credential may call them; whoever else asks is told to go there, whatever their role.
//!
//! They are answered while the gateway begins and ends, too: then they are needed most.

use super::Gateway;
use super::conn::ConnId;
use super::host_work::{DrainProgress, HostOutcome, HostToken, HostWork, Misconfigured, Reloaded};
use super::jobs::Job;
use super::json::{self, Object};
use super::methods::{Handler, Method, table};
use super::params::{Param, Params};
use super::principal::{Authenticated, Role};
use super::proof::Proof;
use super::refusal::{Code, Refusal};
use super::send::{Cx, ReplyTo};
use super::work::Work;
use std::time::Duration;

/// How long the host may take. A loop that is busy is waited for, by a reload.
const WITHIN: Duration = Duration::from_secs(30);

/// All of them, in the order of the docs.
pub fn host_methods() -> &'static [Method] {
    METHODS
}

/// The same as a table in Markdown.
pub fn host_methods_markdown() -> String {
    table(METHODS)
}

pub(super) fn find(name: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.name == name)
}

const fn flag(name: &'static str) -> Param {
    Param { name, aliases: &[], kind: "true or false", required: false }
}

const fn method(
    name: &'static str,
    summary: &'static str,
    params: &'static [Param],
    work: fn(&Params<'_>) -> Result<HostWork, Refusal>,
) -> Method {
    let handler = Handler::Host(work);
    Method { name, role: Some(Role::Owner), cost: 0, summary, params, handler }
}

static METHODS: &[Method] = &[
    method(
        "gateway.reload",
        "Reads the configuration again, as SIGHUP does, and says what has changed or what is wrong.",
        &[],
        |_| Ok(HostWork::Reload),
    ),
    method(
        "gateway.drain",
        "Ends the gateway in order, as SIGTERM does, or SIGUSR2 with `restart`.",
        &[flag("restart")],
        |params| Ok(HostWork::Drain { restart: is_set(params, "restart")? }),
    ),
    method("gateway.progress", "How far that is.", &[], |_| Ok(HostWork::Progress)),
    method(
        "gateway.tokens",
        "The gateway tokens by their fingerprints; with `texts` those of the state folder themselves.",
        &[flag("texts")],
        |params| Ok(HostWork::Tokens { texts: is_set(params, "texts")? }),
    ),
    method(
        "gateway.token.rotate",
        "Makes a new token in the state folder. The one before is valid until it is dropped, or with \
         `now` no more.",
        &[flag("now")],
        |params| Ok(HostWork::RotateToken { now: is_set(params, "now")? }),
    ),
    method(
        "gateway.token.drop",
        "Drops the token before; who is logged in by it is closed.",
        &[],
        |_| Ok(HostWork::DropToken),
    ),
];

fn is_set(params: &Params<'_>, flag: &str) -> Result<bool, Refusal> {
    Ok(params.flag(flag)?.unwrap_or(false))
}

impl Gateway {
    /// Whether this caller may use the methods of the host.
    pub(super) fn may_ask_host(&self, conn: ConnId, who: &Authenticated) -> Result<(), Refusal> {
        if self.is_local(conn) && who.principal().proof == Proof::Local {
            return Ok(());
        }
        let text =
            "permission denied: only the gateway's own host may do this, by its command line";
        Err(Refusal::new(Code::Unauthorized, text))
    }

    /// Has the host do what was asked.
    pub(super) fn ask_host(&mut self, cx: &Cx<'_>, work: HostWork, to: &mut Option<ReplyTo>) {
        if let Some(to) = to.take() {
            self.start(cx, Work::Host(work), Job::Host { to }, WITHIN);
        }
    }

    /// The host has done it, or not. `None`: it has not answered.
    pub(super) fn host_answered(
        &mut self,
        cx: &mut Cx<'_>,
        to: ReplyTo,
        outcome: Option<&HostOutcome>,
    ) {
        let refusal = match outcome {
            Some(HostOutcome::Reloaded(reloaded)) => {
                return self.reply_ok(cx, to, |_, out| write_reloaded(out, reloaded));
            }
            Some(HostOutcome::Progress(progress)) => {
                return self.reply_ok(cx, to, |_, out| write_progress(out, progress));
            }
            Some(HostOutcome::Tokens(tokens)) => {
                return self.reply_ok(cx, to, |gateway, out| gateway.write_tokens(out, tokens));
            }
            Some(HostOutcome::Misconfigured(problems)) => {
                let text = "the configuration is not good: nothing has changed";
                Refusal::new(Code::FailedPrecondition, text)
                    .details(|o| o.list("problems", problems, write_problem))
            }
            Some(HostOutcome::Refused(why)) => Refusal::new(Code::FailedPrecondition, why.clone()),
            Some(HostOutcome::Failed(why)) => Refusal::new(Code::Internal, why.clone()),
            None => Refusal::new(Code::Unavailable, "the process does not answer"),
        };
        self.reply_error(cx, to, &refusal);
    }

    fn write_tokens(&self, out: &mut String, tokens: &[HostToken]) {
        let write = |out: &mut String, token: &HostToken| {
            Object::new(out)
                .str("fingerprint", &format!("sha256:{}", token.fingerprint))
                .str("source", &token.source)
                .bool("kept", token.kept)
                .bool("previous", token.previous)
                .bool("revoked", self.revocations.has_token(&token.fingerprint))
                .maybe_str("token", token.text.as_deref())
                .end();
        };
        Object::new(out).list("tokens", tokens, write).end();
    }
}

fn write_reloaded(out: &mut String, reloaded: &Reloaded) {
    let text = |out: &mut String, text: &String| json::string(out, text);
    Object::new(out)
        .maybe_str("file", reloaded.file.as_deref())
        .list("changed", &reloaded.changed, text)
        .list("needRestart", &reloaded.need_restart, text)
        .list("warnings", &reloaded.warnings, text)
        .end();
}

fn write_progress(out: &mut String, progress: &DrainProgress) {
    Object::new(out)
        .bool("draining", progress.draining)
        .num("connections", progress.connections)
        .num("runs", progress.runs)
        .end();
}

fn write_problem(out: &mut String, problem: &Misconfigured) {
    let mut object = Object::new(out).str("place", &problem.place);
    if let Some((line, column)) = problem.position {
        object = object.num("line", line as u64).num("column", column as u64);
    }
    object.maybe_str("key", problem.key.as_deref()).str("message", &problem.message).end();
}

#[cfg(test)]
mod tests {
    use super::super::methods::methods;
    use super::*;

    #[test]
    fn no_method_of_the_host_is_one_of_everybody() {
        for method in METHODS {
            assert!(methods().iter().all(|other| other.name != method.name), "{}", method.name);
            assert_eq!((method.role, method.cost), (Some(Role::Owner), 0), "{}", method.name);
        }
    }
}
