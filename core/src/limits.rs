//! What a peer may cost.

use std::time::Duration;

/// Bounds on one connection. Share one value between all connections of a listener (`Arc<Limits>`).
///
/// Each limit is checked before a byte is buffered. The defaults suit a gateway for chat clients; the
/// docs say what it costs to move them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request or response head. Default 16 KiB, which carries the cookies of real
    /// browsers. Higher: that much memory for every unauthenticated socket. Lower: long cookies and
    /// tokens are refused with 431.
    pub head: u32,
    /// Bytes of a request target. Default 8 KiB, as common servers have it; longer gives 414.
    pub target: u32,
    /// Bytes of a received message, over all its fragments. Default 512 KiB. Higher: that much memory
    /// per connection while a message arrives. More closes with 1009 at the frame header.
    pub message: u32,
    /// What the reason of that Close says beside the size, such as where large things should be sent.
    /// Default empty. A reason is cut at 123 bytes.
    pub message_hint: &'static str,
    /// Frames of a received message, empty ones included. Default 1,024. Higher: more work per byte
    /// that a peer can cause. More closes with 1008.
    pub fragments: u32,
    /// Bytes queued for a peer that does not read. Default 1 MiB. Higher: that much memory for each
    /// slow reader. Lower: bursts are refused with [`SendError::Full`](crate::SendError::Full).
    /// A message is taken whole when nothing is queued, whatever its size.
    pub outbox: u32,
    /// Above this many queued bytes [`Wants::read`](crate::Wants::read) is false: who does not take
    /// answers may not ask. Default 64 KiB.
    pub outbox_pause: u32,
    /// From the accepted socket to the end of the handshake, absolute. Default 5 s.
    pub handshake_within: Duration,
    /// From the taken request to the end of its body, or from the beginning of an answer in pieces to
    /// its end, absolute. Default 15 minutes, in which 50 MiB come over half a megabit per second.
    /// Higher: that long a slow peer holds its place.
    pub body_within: Duration,
    /// Silence within a request's body, and at its end the time for the application's answer. Default
    /// 30 s: a network that is changed. While the application
    /// [holds](crate::Outbox::hold_body) the body, nobody is silent.
    pub body_silence: Duration,
    /// A Ping is due this long after the last byte heard, less up to a tenth that differs from
    /// connection to connection. Default 25 s: common proxies cut after 30 s or 60 s of silence.
    /// `Duration::MAX` never pings.
    pub ping_every: Duration,
    /// From the Ping that left (or from the last byte the peer drained) to any byte from the peer.
    /// Default 35 s, which makes 60 s without a byte.
    pub pong_within: Duration,
    /// Queued bytes must move within this time, or the peer is a slow reader. Default 60 s.
    pub drain_within: Duration,
    /// From the first to the last byte of a message. Default 30 s.
    pub message_within: Duration,
    /// permessage-deflate (RFC 7692). Default none: it is neither offered nor accepted.
    #[cfg(feature = "deflate")]
    pub deflate: Option<Deflate>,
    /// From the first Close to the end of the transport, absolute. Default 5 s.
    pub close_within: Duration,
}

#[cfg(feature = "gateway")]
impl Limits {
    /// Whether compression is on.
    pub(crate) fn compresses(&self) -> bool {
        #[cfg(feature = "deflate")]
        return self.deflate.is_some();
        #[cfg(not(feature = "deflate"))]
        false
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: 16 * 1024,
            target: 8 * 1024,
            message: 512 * 1024,
            message_hint: "",
            fragments: 1024,
            outbox: 1024 * 1024,
            outbox_pause: 64 * 1024,
            handshake_within: Duration::from_secs(5),
            body_within: Duration::from_secs(15 * 60),
            body_silence: Duration::from_secs(30),
            ping_every: Duration::from_secs(25),
            pong_within: Duration::from_secs(35),
            drain_within: Duration::from_secs(60),
            message_within: Duration::from_secs(30),
            close_within: Duration::from_secs(5),
            #[cfg(feature = "deflate")]
            deflate: None,
        }
    }
}

/// How messages are compressed (RFC 7692), when the peer agrees.
///
/// A context that lives from message to message makes small, similar messages much smaller, and holds
/// about 300 KiB per connection for sending and 40 KiB for receiving, from the first message that uses it.
#[cfg(feature = "deflate")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deflate {
    /// Ask for, and keep, no context between messages, in either direction. Default false.
    pub no_context_takeover: bool,
    /// The base-2 logarithm of the largest window, 9 to 15. Default 15. Lower: less memory per
    /// context, larger messages.
    pub window_bits: u8,
    /// 1 (fast) to 9 (small). Default 1: chat is compressed for slow links, not for archives.
    pub level: u32,
    /// Messages of fewer bytes are sent plain. Default 128: a context does not pay for less.
    pub threshold: u32,
    /// Inflated bytes per received byte, counted beyond the first 64 KiB of a message. Default 100.
    /// More is taken for a bomb and closes with 1009.
    pub ratio: u32,
    /// Inflated bytes per turn, after which other connections have theirs. Default 1 MiB, about a
    /// millisecond.
    pub turn: u32,
    /// A sending context that was not used for this long is released. Default 60 s.
    pub idle: Duration,
}

#[cfg(feature = "deflate")]
impl Default for Deflate {
    fn default() -> Self {
        Self {
            no_context_takeover: false,
            window_bits: 15,
            level: 1,
            threshold: 128,
            ratio: 100,
            turn: 1024 * 1024,
            idle: Duration::from_secs(60),
        }
    }
}
