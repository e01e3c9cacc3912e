//! A request on its way to the handler of its method.

use super::Gateway;
use super::params::Params;
use super::principal::Authenticated;
use super::refusal::Refusal;
use super::send::{Cx, ReplyTo};
use super::session::Op;

/// What a handler is given.
pub(super) struct Call<'c> {
    pub(super) who: &'c Authenticated,
    pub(super) params: Params<'c>,
    /// Who answers takes it, at once or to answer later; who refuses leaves it.
    pub(super) to: &'c mut Option<ReplyTo>,
}

pub(in crate::gateway) type Done = Result<(), Refusal>;

impl Call<'_> {
    /// Answers at once.
    pub(super) fn answer(
        &mut self,
        gateway: &mut Gateway,
        cx: &mut Cx<'_>,
        fill: impl FnOnce(&Gateway, &mut String),
    ) -> Done {
        if let Some(to) = self.to.take() {
            gateway.reply_ok(cx, to, fill);
        }
        Ok(())
    }

    /// Has the node of the session do it, or whichever the operation is for.
    pub(super) fn route(&mut self, gateway: &mut Gateway, cx: &mut Cx<'_>, op: Op) -> Done {
        if let Some(to) = self.to.take() {
            gateway.route(cx, self.who.principal(), op, to);
        }
        Ok(())
    }
}
