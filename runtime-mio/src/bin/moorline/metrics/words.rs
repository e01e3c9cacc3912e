//! Label values: few, and none that a client could choose.

use moorline_core::CloseCode;

/// The cause of a connection that was a plain request.
pub(super) const ANSWERED: &str = "http";

/// A status of an answer that refuses.
pub(super) fn status(status: u16) -> &'static str {
    match status {
        400 => "400",
        401 => "401",
        403 => "403",
        404 => "404",
        405 => "405",
        409 => "409",
        411 => "411",
        413 => "413",
        415 => "415",
        426 => "426",
        429 => "429",
        500 => "500",
        503 => "503",
        504 => "504",
        507 => "507",
        _ => "other",
    }
}

/// A close code: those of RFC 6455 section 7.4.1 and of the registry each by itself, as peers may send any.
/// Connections that never were WebSockets have none.
pub(super) fn close_code(code: Option<CloseCode>) -> &'static str {
    let Some(code) = code else { return "none" };
    match code.0 {
        1000 => "1000",
        1001 => "1001",
        1002 => "1002",
        1003 => "1003",
        1005 => "1005",
        1006 => "1006",
        1007 => "1007",
        1008 => "1008",
        1009 => "1009",
        1010 => "1010",
        1011 => "1011",
        1012 => "1012",
        1013 => "1013",
        1014 => "1014",
        3000..4000 => "3xxx",
        4000..5000 => "4xxx",
        _ => "other",
    }
}
