//! From when to when a certificate is valid (RFC 5280 section 4.1.2.5). The TLS library looks at this only
//! for the certificates of others.

/// In seconds after 1970.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) not_before: i64,
    pub(super) not_after: i64,
}

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xA0;

/// Reads it from a certificate in DER; `None` where it is not where it should be.
pub(super) fn of(certificate: &[u8]) -> Option<Validity> {
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (mut fields, _) = element(certificate, SEQUENCE)?;
    // The version is left out in certificates of the first one.
    if fields.first() == Some(&VERSION) {
        fields = element(fields, VERSION)?.1;
    }
    // Serial number, algorithm, issuer.
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        fields = element(fields, tag)?.1;
    }
    let (validity, _) = element(fields, SEQUENCE)?;
    let (not_before, rest) = time(validity)?;
    let (not_after, _) = time(rest)?;
    Some(Validity { not_before, not_after })
}

/// The contents of the first element, which must have this tag, and what follows it (X.690 section 8.1).
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..=0x7F => (usize::from(length), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7F))?;
            (digits.iter().fold(0, |all, digit| all << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    (first == tag).then(|| rest.split_at_checked(length)).flatten()
}

/// A time and what follows it: `YYMMDDHHMMSSZ`, or with four digits for the year.
fn time(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let tag = *bytes.first()?;
    let (text, rest) = element(bytes, tag)?;
    let (year, text) = match tag {
        UTC_TIME => {
            let year = number(text.get(..2)?)?;
            // RFC 5280 section 4.1.2.5.1: 50 is 1950.
            (if year < 50 { 2000 + year } else { 1900 + year }, text.get(2..)?)
        }
        GENERALIZED_TIME => (number(text.get(..4)?)?, text.get(4..)?),
        _ => return None,
    };
    let text = text.strip_suffix(b"Z").filter(|text| text.len() == 10)?;
    let mut parts = text.chunks(2).map(number);
    let mut next = || parts.next().flatten();
    let (month, day) = (next()?, next()?);
    let (hour, minute, second) = (next()?, next()?, next()?);
    let days = (1..=12).contains(&month).then(|| days(year, month, day))?;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second, rest))
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |all, digit| {
        digit.is_ascii_digit().then(|| all * 10 + i64::from(digit - b'0'))
    })
}

/// Days from 1970-01-01 to a date of the Gregorian calendar. Years are taken to begin in March, so that a
/// leap day is a year's last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let of_years = year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    of_years + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    #[test]
    fn days_are_counted_from_1970() {
        for (year, month, day, expected) in [
            (1970, 1, 1, 0),
            (1969, 12, 31, -1),
            (2000, 2, 29, 11_016),
            (2000, 3, 1, 11_017),
            (2026, 1, 1, 20_454),
            (2100, 3, 1, 47_541),
        ] {
            assert_eq!(days(year, month, day), expected, "{year}-{month}-{day}");
        }
    }

    #[test]
    fn both_forms_of_time_are_read() {
        let mut params = CertificateParams::new([]).expect("no names");
        // RFC 5280 section 4.1.2.5: two digits until 2049, four from then on.
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = date_time_ymd(2100, 3, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let day = 24 * 60 * 60;
        let expected = Validity { not_before: 20_454 * day, not_after: 47_541 * day };
        assert_eq!(of(certificate.der()), Some(expected));
    }

    #[test]
    fn what_is_no_certificate_has_no_time_and_any_part_of_one_is_harmless() {
        assert_eq!(of(b""), None);
        assert_eq!(of(&[SEQUENCE, 0x84, 0xFF, 0xFF, 0xFF, 0xFF, 0]), None);
        let params = CertificateParams::new([]).expect("no names");
        let certificate =
            params.self_signed(&KeyPair::generate().expect("a key")).expect("a certificate");
        let der = certificate.der();
        for len in 0..der.len() {
            assert_eq!(of(&der[..len]), None, "the outermost length does not fit");
        }
        for at in 0..der.len() {
            let mut broken = der.to_vec();
            broken[at] ^= 0xFF;
            // Whatever it says.
            let _ = of(&broken);
        }
    }
}
