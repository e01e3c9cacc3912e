//! Pages that the host brings along, such as a web page for people: the same bytes for everybody.

use super::config::ConfigError;
use crate::upgrade::RequestHead;
use crate::upgrade::head::is_writable;

/// A page that never changes. It is answered to GET and HEAD after the same checks of address, Host and
/// Origin as everything else; nobody has to log in for it, so it must hold no secret.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct StaticPage {
    /// The path, such as `/console`, as it stands in the request. `/` takes the place of the gateway's
    /// own index; a path of the gateway's other pages or of uploads is never asked for.
    pub path: &'static str,
    /// All headers but `Content-Length` and `Connection`: the type, and what browsers must know, such as
    /// the `Content-Security-Policy`.
    pub headers: &'static [(&'static str, &'static str)],
    /// The body. Each request copies it to its connection until it is sent: some ten KiB are fine.
    pub body: &'static str,
}

impl StaticPage {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let path = self.path.starts_with('/') && self.path.bytes().all(|b| b.is_ascii_graphic());
        let headers = self.headers.iter().all(|(name, value)| is_writable(name, value));
        if path && headers { Ok(()) } else { Err(ConfigError::Page(self.path)) }
    }
}

/// Whether somebody follows a link to a page, as browsers tell (Fetch Metadata, sections 2.1 and 2.2):
/// the page is then shown in a window of its own, and the site that had the link cannot read it.
pub(super) fn is_visit(head: &RequestHead<'_>) -> bool {
    let says = |name, value: &[u8]| head.header(name).is_some_and(|text| text == value);
    !head.is_upgrade()
        && head.method() == "GET"
        && says("Sec-Fetch-Mode", b"navigate")
        && says("Sec-Fetch-Dest", b"document")
}
