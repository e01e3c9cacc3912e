//! Dates as HTTP has them (RFC 9110 section 5.6.7), which need no time zone.

use std::time::{Duration, SystemTime};

/// The end of what the format can write, 9999-01-01; certificates without an end carry later dates.
const END: Duration = Duration::from_secs(253_370_764_800);

/// A date, unless it is before 1970 or beyond the format.
pub(crate) fn shown(at: SystemTime) -> Option<String> {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    (since < END).then(|| httpdate::fmt_http_date(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_that_cannot_be_written_is_none() {
        let start = SystemTime::UNIX_EPOCH;
        assert_eq!(shown(start).as_deref(), Some("Thu, 01 Jan 1970 00:00:00 GMT"));
        let last = shown(start + END - Duration::from_secs(1));
        assert_eq!(last.as_deref(), Some("Thu, 31 Dec 9998 23:59:59 GMT"));
        assert_eq!((shown(start + END), shown(start - END)), (None, None));
    }
}
