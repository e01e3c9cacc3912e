//! Would this page be let in, and would the gateway answer under this name?

use super::finding::Finding;
use super::ids;
use crate::peer_text::PeerText;
use crate::probe::{Course, Target, Wish};

/// Asks with this Origin.
pub(super) fn origin(target: &Target, origin: &str) -> Finding {
    let shown = PeerText(origin);
    match refusal(target, Wish { origin: Some(origin), ..Wish::default() }) {
        None => Finding::new(ids::ORIGIN_ALLOWED, format!("pages of {shown} may connect")),
        Some(why) => {
            Finding::new(ids::ORIGIN_REFUSED, format!("pages of {shown} are not let in: {why}"))
                .fix(format!("moorline serve --allow-origin {shown}"))
        }
    }
}

/// Asks under this Host.
pub(super) fn host(target: &Target, host: &str) -> Finding {
    let shown = PeerText(host);
    match refusal(target, Wish { host: Some(host), ..Wish::default() }) {
        None => Finding::new(ids::HOST_ALLOWED, format!("it answers as {shown}")),
        Some(why) => {
            Finding::new(ids::HOST_REFUSED, format!("it does not answer as {shown}: {why}"))
                .fix(format!("moorline serve --allow-host {shown}"))
        }
    }
}

/// What is said against a request; none if it is upgraded.
fn refusal(target: &Target, wish: Wish<'_>) -> Option<String> {
    let (course, wire) = Course::open(target, wish);
    match wire {
        Some(wire) => {
            let _ = wire.close(std::time::Instant::now() + target.timeout);
            None
        }
        None => Some(course.failed().map_or_else(String::new, |stage| stage.about.clone())),
    }
}
