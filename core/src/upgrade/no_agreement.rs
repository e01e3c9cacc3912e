//! What stands in for the agreement without the feature `deflate`: a type that has no value.

use super::RequestHead;
use super::head::list;
use crate::limits::Limits;

#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub(crate) enum Agreement {}

impl Agreement {
    pub(crate) fn with_client(_: &RequestHead<'_>, _: &Limits) -> Option<Self> {
        None
    }

    pub(crate) fn with_server<'a>(
        values: impl Iterator<Item = &'a [u8]>,
        _: &Limits,
    ) -> Result<Option<Self>, &'static str> {
        let mut items = values.flat_map(list);
        match items.next() {
            Some(_) => Err("an extension that was not offered"),
            None => Ok(None),
        }
    }

    pub(crate) fn header(&self) -> String {
        match *self {}
    }
}

pub(crate) fn extension_offer(_: &Limits) -> Option<String> {
    None
}
