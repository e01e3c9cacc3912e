//! Percent-encoding (RFC 3986 section 2.1).

/// A text as it may stand anywhere in a URL.
pub(crate) fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).into() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_in_a_url_is_escaped() {
        assert_eq!(escaped("0123abcXYZ-._~"), "0123abcXYZ-._~");
        assert_eq!(escaped("a&b=#c d%\u{fc}"), "a%26b%3D%23c%20d%25%C3%BC");
    }
}
