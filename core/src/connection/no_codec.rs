//! What stands in for the codec without the feature `deflate`: types that have no value, so that no
//! code below them can be reached and the rest of the connection need not know.

use crate::error::{LimitError, ProtocolError};
use crate::frame::Frame;
use crate::frame::assembler::Message;
use crate::limits::Limits;
use crate::upgrade::Agreement;
use bytes::Bytes;
use std::time::Instant;

#[derive(Debug, Copy, Clone, PartialEq, Eq)]
#[expect(dead_code, reason = "nothing is ever inflated")]
pub(crate) enum Broken {
    Protocol(ProtocolError),
    Limit(LimitError),
}

#[derive(Debug)]
pub(crate) enum Codec {}

impl Codec {
    pub(crate) fn new(agreed: Agreement, _: bool, _: &Limits, _: Instant) -> Self {
        match agreed {}
    }

    pub(crate) fn begin_turn(&mut self) -> Vec<u8> {
        match *self {}
    }

    pub(crate) fn is_spent(&self) -> bool {
        match *self {}
    }

    pub(crate) fn stash(&mut self, _: &[u8]) {
        match *self {}
    }

    pub(crate) fn has_stash(&self) -> bool {
        match *self {}
    }

    pub(crate) fn inflate(
        &mut self,
        _: &[u8],
        _: bool,
        _: &mut Message,
        _: u32,
    ) -> Result<(), Broken> {
        match *self {}
    }

    pub(crate) fn deflate(&mut self, _: Instant, _: &[u8]) -> Option<Vec<u8>> {
        match *self {}
    }

    pub(crate) fn sent(&mut self, _: Vec<u8>) {
        match *self {}
    }

    pub(crate) fn shared(&mut self, _: &Frame) -> Option<Bytes> {
        match *self {}
    }

    pub(crate) fn idle_at(&self) -> Option<Instant> {
        match *self {}
    }

    pub(crate) fn release(&mut self) {
        match *self {}
    }

    pub(crate) fn retained(&self) -> usize {
        match *self {}
    }
}
