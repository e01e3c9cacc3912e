//! What a certificate says of itself: its names and its time (RFC 5280 section 4.1). Nothing is believed
//! because of it; whether it is trusted is TLS's business.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime};

/// What people want to know of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Certificate {
    pub(crate) names: Vec<String>,
    pub(crate) from: SystemTime,
    pub(crate) until: SystemTime,
}

impl Certificate {
    /// Reads DER; `None` where it is no certificate.
    pub(crate) fn parse(der: &[u8]) -> Option<Self> {
        let certificate = Der(der).take()?.of(SEQUENCE)?;
        let mut fields = Der(Der(certificate).take()?.of(SEQUENCE)?);
        let mut next = fields.take()?;
        if next.tag == VERSION {
            next = fields.take()?;
        }
        // The serial number is here; then the signature's kind and the issuer.
        let _serial = next;
        let (_kind, _issuer) = (fields.take()?, fields.take()?);
        let mut validity = Der(fields.take()?.of(SEQUENCE)?);
        let (from, until) = (time(&validity.take()?)?, time(&validity.take()?)?);
        let mut names = Vec::new();
        while let Some(field) = fields.take() {
            if field.tag == EXTENSIONS {
                let mut extensions = Der(Der(field.body).take()?.of(SEQUENCE)?);
                while let Some(extension) = extensions.take() {
                    let mut parts = Der(extension.of(SEQUENCE)?);
                    if parts.take()?.body == SUBJECT_ALT_NAME {
                        let last = std::iter::from_fn(|| parts.take()).last()?;
                        names = alt_names(last.body)?;
                    }
                }
            }
        }
        Some(Self { names, from, until })
    }

    /// Days until it ends; negative when it has.
    pub(crate) fn days_left(&self, now: SystemTime) -> i64 {
        let days = |time: Duration| (time.as_secs() / 86_400) as i64;
        match self.until.duration_since(now) {
            Ok(left) => days(left),
            Err(past) => -days(past.duration()) - 1,
        }
    }
}

fn alt_names(body: &[u8]) -> Option<Vec<String>> {
    let mut list = Der(Der(body).take()?.of(SEQUENCE)?);
    let mut names = Vec::new();
    while let Some(name) = list.take() {
        match (name.tag, name.body.len()) {
            (DNS_NAME, _) => names.push(String::from_utf8_lossy(name.body).into_owned()),
            (IP_ADDRESS, 4) => {
                let ip: [u8; 4] = name.body.try_into().ok()?;
                names.push(Ipv4Addr::from(ip).to_string());
            }
            (IP_ADDRESS, 16) => {
                let ip: [u8; 16] = name.body.try_into().ok()?;
                names.push(Ipv6Addr::from(ip).to_string());
            }
            _ => {}
        }
    }
    Some(names)
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ` (RFC 5280 section 4.1.2.5).
fn time(element: &Element<'_>) -> Option<SystemTime> {
    let text = std::str::from_utf8(element.body).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match (element.tag, text.len()) {
        (UTC_TIME, 12) => {
            let year: i64 = text[..2].parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, &text[2..])
        }
        (GENERALIZED_TIME, 14) => (text[..4].parse().ok()?, &text[4..]),
        _ => return None,
    };
    let part = |at: usize| rest[at..at + 2].parse::<i64>().ok();
    let (month, day) = (part(0)?, part(2)?);
    let seconds = part(4)? * 3600 + part(6)? * 60 + part(8)?;
    // Days since 1970 of the proleptic Gregorian calendar, with years that begin in March.
    let years = if month > 2 { year } else { year - 1 };
    let in_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = years * 365 + years / 4 - years / 100 + years / 400 + in_year - 719_468;
    let since = u64::try_from(days * 86_400 + seconds).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(since))
}

/// A row of elements in DER.
struct Der<'a>(&'a [u8]);

struct Element<'a> {
    tag: u8,
    body: &'a [u8],
}

impl<'a> Der<'a> {
    /// The next element.
    fn take(&mut self) -> Option<Element<'a>> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (len, rest) = match first {
            0..=0x7F => (usize::from(first), rest),
            0x81..=0x84 => {
                let count = usize::from(first & 0x7F);
                let bytes = rest.get(..count)?;
                let len = bytes.iter().fold(0, |len, byte| len << 8 | usize::from(*byte));
                (len, &rest[count..])
            }
            _ => return None,
        };
        let body = rest.get(..len)?;
        self.0 = &rest[len..];
        Some(Element { tag, body })
    }
}

impl<'a> Element<'a> {
    fn of(self, tag: u8) -> Option<&'a [u8]> {
        (self.tag == tag).then_some(self.body)
    }
}

const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const VERSION: u8 = 0xA0;
const EXTENSIONS: u8 = 0xA3;
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;

/// 2.5.29.17.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1D, 0x11];

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> Vec<u8> {
        let names = ["gateway.example".to_string(), "192.0.2.7".into(), "::1".into()];
        let mut params = rcgen::CertificateParams::new(names).expect("names");
        params.not_before = rcgen::date_time_ymd(2024, 2, 29);
        params.not_after = rcgen::date_time_ymd(2051, 1, 1);
        let key = rcgen::KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("signed").der().to_vec()
    }

    #[test]
    fn names_and_times_are_those_of_the_certificate() {
        let certificate = Certificate::parse(&made()).expect("a certificate");
        assert_eq!(certificate.names, ["gateway.example", "192.0.2.7", "::1"]);
        let at = |secs| SystemTime::UNIX_EPOCH + Duration::from_secs(secs);
        assert_eq!(certificate.from, at(1_709_164_800));
        assert_eq!(certificate.until, at(2_556_144_000));
        assert_eq!(certificate.days_left(at(2_556_144_000 - 86_400)), 1);
        assert_eq!(certificate.days_left(at(2_556_144_000 + 1)), -1);
    }

    #[test]
    fn what_breaks_off_or_is_damaged_is_no_certificate_and_no_panic() {
        let der = made();
        for end in 0..der.len() {
            let _ = Certificate::parse(&der[..end]);
        }
        for at in 0..der.len() {
            for bits in [0xFF, 0x80, 0x01] {
                let mut damaged = der.clone();
                damaged[at] ^= bits;
                let _ = Certificate::parse(&damaged);
            }
        }
        assert_eq!(Certificate::parse(&der[..der.len() / 2]), None);
    }
}
