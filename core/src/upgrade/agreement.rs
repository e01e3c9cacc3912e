//! What both ends agree on about compression, from the headers of the handshake.

use super::RequestHead;
use super::extensions::{self, Agreed, answer, check, choose};
use crate::limits::Limits;

const HEADER: &str = "Sec-WebSocket-Extensions";

/// What both ends agreed on in the handshake.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub(crate) struct Agreement(pub(crate) Agreed);

impl Agreement {
    /// Server: what can be agreed on with this client.
    pub(crate) fn with_client(head: &RequestHead<'_>, limits: &Limits) -> Option<Self> {
        let config = limits.deflate.as_ref()?;
        choose(head.values(HEADER), config).map(Self)
    }

    /// Client: what the server's answer agrees to.
    pub(crate) fn with_server<'a>(
        values: impl Iterator<Item = &'a [u8]>,
        limits: &Limits,
    ) -> Result<Option<Self>, &'static str> {
        Ok(check(values, limits.deflate.as_ref())?.map(Self))
    }

    /// Server: the answer's header value.
    pub(crate) fn header(&self) -> String {
        answer(&self.0)
    }
}

/// Client: the offer's header value.
pub(crate) fn extension_offer(limits: &Limits) -> Option<String> {
    limits.deflate.as_ref().map(extensions::offer)
}
