//! Which endings are worth another attempt.

use crate::error::{ConnectCause, ConnectError, Phase};
use crate::message::Closed;
use crate::tls::is_certificate_error;
use moorline_core::{Cause, UpgradeError, Why};
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Why there is no connection now.
#[derive(Debug, Clone)]
pub enum Ending {
    /// An attempt to connect failed.
    NotConnected(Arc<ConnectError>),
    /// A connection ended.
    Closed(Closed),
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConnected(error) => error.fmt(f),
            Self::Closed(closed) => closed.fmt(f),
        }
    }
}

/// What to do about an ending.
#[derive(Debug, Copy, Clone, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Try again after the random pause.
    Retry,
    /// The server needs time: try again after the time it asked for, or
    /// [`Pace::later`](crate::Pace::later), and the random pause on top.
    Later,
    /// The same would happen again: a person must change something.
    Stop,
}

/// A row of a table of verdicts: the codes, what to do, and why.
pub type Row = (RangeInclusive<u16>, Verdict, &'static str);

/// What a Close from the server asks for, by its code; the first row that matches counts.
pub const CLOSE_CODES: &[Row] = &[
    (1000..=1000, Verdict::Stop, "the server says that the work is done"),
    (1001..=1001, Verdict::Retry, "the server, or a proxy, goes away; another one may be there"),
    (1002..=1003, Verdict::Stop, "the server does not accept what this client does"),
    (1005..=1006, Verdict::Retry, "the transport was cut, or the server gave no code"),
    (1007..=1008, Verdict::Stop, "the server refuses the data or the client by its rules"),
    (1009..=1009, Verdict::Later, "one message was too big, and it is not sent again by itself"),
    (1010..=1010, Verdict::Stop, "an extension is missing, and it will be missing again"),
    (1011..=1011, Verdict::Retry, "the server failed, which may pass"),
    (1012..=1013, Verdict::Later, "the server restarts, or has too much to do"),
    (1014..=1014, Verdict::Later, "the server behind a gateway failed, which may pass"),
    (3000..=3000, Verdict::Stop, "unauthorized: another credential is needed"),
    (3003..=3003, Verdict::Stop, "forbidden: other rights are needed"),
    (3000..=4999, Verdict::Retry, "registered or private codes: the application knows better"),
];

/// What an HTTP refusal asks for, by its status; the first row that matches counts.
pub const HTTP_STATUSES: &[Row] = &[
    (408..=408, Verdict::Retry, "the request came too slowly"),
    (425..=425, Verdict::Later, "too early"),
    (429..=429, Verdict::Later, "too many requests"),
    (100..=499, Verdict::Stop, "the request is wrong, or may not be made, or the place has moved"),
    (501..=501, Verdict::Stop, "the server cannot do this"),
    (503..=503, Verdict::Later, "the server has too much to do"),
    (500..=599, Verdict::Retry, "the server, or a proxy before it, failed, which may pass"),
];

/// The default judgement; [`ReconnectOptions::judge`](crate::ReconnectOptions::judge) replaces it.
pub fn judge(ending: &Ending) -> Verdict {
    match ending {
        Ending::NotConnected(error) => judge_error(error),
        Ending::Closed(closed) => judge_closed(closed),
    }
}

fn judge_closed(closed: &Closed) -> Verdict {
    match closed.cause() {
        Cause::Local(_) => Verdict::Stop,
        // Endings by a clock or by a full queue, as this project's servers call them: nothing is
        // wrong with the client itself.
        Cause::Peer(_, reason) if is_by_clock(reason) => Verdict::Retry,
        Cause::Peer(code, _) => look_up(CLOSE_CODES, code.0).unwrap_or(Verdict::Stop),
        // The server, or something between, breaks the protocol or our limits: perhaps not for ever.
        Cause::Protocol(_) | Cause::Limit(_) => Verdict::Later,
        _ => Verdict::Retry,
    }
}

fn is_by_clock(reason: &str) -> bool {
    [Why::Handshake, Why::Pong, Why::Drain, Why::Message].iter().any(|why| why.reason() == reason)
}

fn judge_error(error: &ConnectError) -> Verdict {
    match &error.cause {
        ConnectCause::Setup(_) | ConnectCause::Answer(UpgradeError::Answer(_)) => Verdict::Stop,
        ConnectCause::Refused(refusal) => {
            look_up(HTTP_STATUSES, refusal.status).unwrap_or(Verdict::Stop)
        }
        ConnectCause::Io(error) if is_certificate_error(error) => Verdict::Stop,
        ConnectCause::Ended(closed) => judge_closed(closed),
        // No name, no route, nobody there, cut off, too slow: networks come and go.
        _ => match error.phase {
            Phase::Setup => Verdict::Stop,
            _ => Verdict::Retry,
        },
    }
}

fn look_up(table: &[Row], code: u16) -> Option<Verdict> {
    table.iter().find(|(codes, ..)| codes.contains(&code)).map(|(_, verdict, _)| *verdict)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Refusal;
    use moorline_core::CloseCode;
    use std::io;

    fn closed(code: u16, reason: &str) -> Verdict {
        judge(&Ending::Closed(Cause::Peer(CloseCode(code), reason).into()))
    }

    fn failed(phase: Phase, cause: ConnectCause) -> Verdict {
        judge(&Ending::NotConnected(Arc::new(ConnectError { phase, cause })))
    }

    #[test]
    fn every_code_a_peer_may_send_is_in_the_table() {
        for code in (0..=u16::MAX).filter(|code| CloseCode(*code).is_sendable() || *code == 1005) {
            assert!(look_up(CLOSE_CODES, code).is_some(), "{code}");
        }
        for status in 100..600 {
            assert!(look_up(HTTP_STATUSES, status).is_some(), "{status}");
        }
    }

    #[test]
    fn close_codes_are_told_apart() {
        for code in [1000, 1002, 1003, 1007, 1008, 1010, 3000, 3003] {
            assert_eq!(closed(code, ""), Verdict::Stop, "{code}");
        }
        for code in [1009, 1012, 1013, 1014] {
            assert_eq!(closed(code, ""), Verdict::Later, "{code}");
        }
        for code in [1001, 1005, 1011, 3001, 4000, 4999] {
            assert_eq!(closed(code, ""), Verdict::Retry, "{code}");
        }
        assert_eq!(closed(1008, "keepalive timeout"), Verdict::Retry);
        assert_eq!(closed(1008, "slow consumer"), Verdict::Retry);
        assert_eq!(closed(1008, "revoked"), Verdict::Stop);
        assert_eq!(judge(&Ending::Closed(Cause::Eof.into())), Verdict::Retry);
        assert_eq!(judge(&Ending::Closed(Cause::Local(CloseCode(1000)).into())), Verdict::Stop);
    }

    #[test]
    fn refusals_and_failures_are_told_apart() {
        let refused = |status| {
            let refusal = Refusal { status, headers: Vec::new(), body: Vec::new() };
            failed(Phase::Upgrade, ConnectCause::Refused(refusal))
        };
        for status in [200, 301, 400, 401, 403, 404, 407, 426, 501] {
            assert_eq!(refused(status), Verdict::Stop, "{status}");
        }
        assert_eq!([429, 503].map(refused), [Verdict::Later; 2]);
        assert_eq!([408, 500, 502, 504].map(refused), [Verdict::Retry; 4]);
        let io = |kind: io::ErrorKind| ConnectCause::Io(kind.into());
        assert_eq!(failed(Phase::Tcp, io(io::ErrorKind::ConnectionRefused)), Verdict::Retry);
        assert_eq!(failed(Phase::Dns, io(io::ErrorKind::Other)), Verdict::Retry);
        assert_eq!(failed(Phase::Setup, ConnectCause::Setup(String::new())), Verdict::Stop);
        let certificate = futures_rustls::rustls::Error::NoCertificatesPresented;
        let certificate = io::Error::new(io::ErrorKind::InvalidData, certificate);
        assert_eq!(failed(Phase::Tls, ConnectCause::Io(certificate)), Verdict::Stop);
        assert_eq!(failed(Phase::Tls, io(io::ErrorKind::UnexpectedEof)), Verdict::Retry);
    }
}
