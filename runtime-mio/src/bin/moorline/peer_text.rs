//! Text from a peer, made safe for a log line or a terminal.

use std::fmt;

/// The most that is shown of one piece of peer text, in bytes.
const MAX: usize = 256;

/// Shows peer text capped and escaped: no control characters, no bidirectional overrides, no line
/// separators, so that it can neither forge a line nor drive a terminal.
#[derive(Debug, Copy, Clone)]
pub(crate) struct PeerText<'a>(pub(crate) &'a str);

impl fmt::Display for PeerText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.floor_char_boundary(MAX)];
        for c in shown.chars() {
            match c {
                '\u{AD}'
                | '\u{61C}'
                | '\u{200B}'..='\u{200F}'
                | '\u{2028}'..='\u{202E}'
                | '\u{2060}'..='\u{206F}'
                | '\u{FEFF}'
                | '\u{E0000}'..='\u{E007F}' => {
                    write!(f, "{}", c.escape_unicode())?;
                }
                c if c.is_control() => write!(f, "{}", c.escape_default())?,
                c => write!(f, "{c}")?,
            }
        }
        if shown.len() < self.0.len() {
            write!(f, "… ({} bytes)", self.0.len())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_drives_a_terminal_or_forges_a_line_passes() {
        let text = "a\x1b[31mb\nc\r\u{9b}d\u{202e}e\u{2028}f é";
        let shown = PeerText(text).to_string();
        assert_eq!(shown, "a\\u{1b}[31mb\\nc\\r\\u{9b}d\\u{202e}e\\u{2028}f é");
    }

    #[test]
    fn long_text_is_capped_at_a_code_point() {
        let shown = PeerText(&"é".repeat(1000)).to_string();
        assert_eq!(shown, format!("{}… (2000 bytes)", "é".repeat(128)));
    }
}
