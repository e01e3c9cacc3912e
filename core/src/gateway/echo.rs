//! The built-in agent's answer: what it was told, word by word.

/// Splits a text after each run of white space. The pieces together are the text, byte for byte; an
/// empty text has none. The host waits a little between pieces, so that streaming can be seen.
pub fn echo_chunks(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut in_space = false;
        let end = rest
            .char_indices()
            .find(|(_, c)| {
                let was = std::mem::replace(&mut in_space, c.is_whitespace());
                was && !in_space
            })
            .map_or(rest.len(), |(at, _)| at);
        let (piece, after) = rest.split_at(end);
        rest = after;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_are_words_and_make_up_the_text() {
        let pieces: Vec<_> = echo_chunks("  two  words\n é ").collect();
        assert_eq!(pieces, ["  ", "two  ", "words\n ", "é "]);
        assert_eq!(echo_chunks("").count(), 0);
        quickcheck::quickcheck(
            (|text: String| echo_chunks(&text).collect::<String>() == text) as fn(_) -> bool,
        );
    }
}
