//! Names of uploaded files: what a client calls one, and where it is kept.

use super::multipart::parameter;
use sha1::{Digest as _, Sha1};
use std::fmt::Write as _;

/// Bytes of a file's name.
const MAX_NAME: usize = 255;

/// Bytes of an extension that is kept.
const MAX_EXTENSION: usize = 16;

/// The extension that a host may mark files with that are not whole: no file is called so.
const PART: &str = "part";

/// The folder below the state folder.
const FOLDER: &str = "media/";

/// The name that a `Content-Disposition` gives its file.
pub(super) fn filename_of(disposition: &str) -> Option<String> {
    parameter(disposition, "filename")
}

/// A name without folders, control characters and marks that turn the direction of the text, of at most
/// 255 bytes; what is cut is cut in front of the extension.
pub(super) fn clean(name: &str) -> String {
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let turns = |c: char| matches!(c, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    let name: String = name.chars().filter(|c| !c.is_control() && !turns(*c)).collect();
    let name = name.trim();
    if name.trim_matches('.').is_empty() {
        return "file".into();
    }
    if name.len() <= MAX_NAME {
        return name.into();
    }
    let extension = extension(name).map(|_| &name[name.rfind('.').unwrap_or(name.len())..]);
    let extension = extension.unwrap_or_default();
    let stem = &name[..name.floor_char_boundary(MAX_NAME - extension.len())];
    format!("{stem}{extension}")
}

/// The extension of a name, in small letters, if it is a plain one.
fn extension(name: &str) -> Option<String> {
    let (stem, extension) = name.rsplit_once('.')?;
    let is_plain = !stem.is_empty()
        && (1..=MAX_EXTENSION).contains(&extension.len())
        && extension.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_plain.then(|| extension.to_ascii_lowercase()).filter(|extension| extension != PART)
}

/// A media type without its parameters, or that of bytes nobody knows.
pub(super) fn media_type(value: Option<&str>) -> String {
    let is_token = |text: &str| crate::upgrade::head::is_token(text.as_bytes());
    let plain = value.and_then(|value| {
        let plain = value.split(';').next()?.trim();
        let (kind, sub) = plain.split_once('/')?;
        (plain.len() <= 127 && is_token(kind) && is_token(sub)).then(|| plain.to_ascii_lowercase())
    });
    plain.unwrap_or_else(|| "application/octet-stream".into())
}

/// Where a file is kept, from the state folder on. The user's folder is a digest of its id, which may
/// hold anything; to have files among another's somebody would need a second id with the same digest,
/// for which no way is known with SHA-1 either.
pub(super) fn path(user: &str, unique: &str, name: &str) -> String {
    let mut path = folder(user);
    path.push_str(unique);
    if let Some(extension) = extension(name) {
        path.push('.');
        path.push_str(&extension);
    }
    path
}

/// Whether a file of this path is the user's, if there is one: what [`path`] makes, and nothing else.
pub(super) fn is_of(user: &str, path: &str) -> bool {
    let Some(name) = path.strip_prefix(&folder(user)) else { return false };
    let (unique, extension) = name.split_once('.').unwrap_or((name, "x"));
    let is_plain = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_lowercase();
    unique.len() == 36
        && unique.bytes().all(|byte| is_plain(byte) || byte == b'-')
        && (1..=MAX_EXTENSION).contains(&extension.len())
        && extension.bytes().all(is_plain)
        && extension != PART
}

fn folder(user: &str) -> String {
    let mut path = String::from(FOLDER);
    for byte in Sha1::digest(user.as_bytes()) {
        write!(path, "{byte:02x}").expect("a string takes everything");
    }
    path.push('/');
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_what_could_lead_elsewhere() {
        for (sent, kept) in [
            ("cat.png", "cat.png"),
            ("/etc/passwd", "passwd"),
            ("..\\..\\boot.ini", "boot.ini"),
            ("C:\\Users\\ann\\cat.PNG", "cat.PNG"),
            ("a\r\nb\0c\u{7f}.txt", "abc.txt"),
            ("gpj.\u{202E}exe", "gpj.exe"),
            ("  ", "file"),
            ("", "file"),
            (".", "file"),
            ("..", "file"),
            ("../", "file"),
            ("Grüße 🦀.pdf", "Grüße 🦀.pdf"),
        ] {
            assert_eq!(clean(sent), kept, "{sent:?}");
        }
        let long = clean(&format!("{}.jpeg", "ü".repeat(500)));
        assert!(
            long.ends_with("ü.jpeg") && long.len() <= 255 && long.len() > 250,
            "{}",
            long.len()
        );
        assert_eq!(clean(&"x".repeat(256)).len(), 255);
    }

    #[test]
    fn paths_are_made_of_nothing_that_the_client_wrote_but_a_plain_extension() {
        for (name, end) in [
            ("cat.PNG", "/u.png"),
            ("cat", "/u"),
            (".profile", "/u"),
            ("cat.", "/u"),
            ("cat.p ng", "/u"),
            ("cat.Part", "/u"),
            ("a.tar.gz", "/u.gz"),
            ("a.12345678901234567", "/u"),
        ] {
            let path = path("ann", "u", name);
            assert!(path.starts_with("media/") && path.ends_with(end), "{path}");
            assert_eq!(path.len(), "media/".len() + 40 + end.len());
        }
        assert_ne!(folder("ann"), folder("Ann"));
    }

    #[test]
    fn only_paths_that_were_made_here_are_somebodys() {
        let unique = "0123abcd-0000-4000-8000-0123456789ab";
        for name in ["cat.png", "cat"] {
            let path = path("ann", unique, name);
            assert!(is_of("ann", &path) && !is_of("bob", &path));
            for broken in [
                path.replace("media/", "media//"),
                path.replace("/0123", "/../0123"),
                path.replace("/0123", "/./0123"),
                path.replace("abcd", "ABCD"),
                format!("/{path}"),
                format!("{path}.part"),
                format!("{path}/"),
                format!("{path}\0"),
                path[..folder("ann").len() + 35].to_string(),
            ] {
                assert!(!is_of("ann", &broken), "{broken}");
            }
        }
    }

    #[test]
    fn media_types_are_plain() {
        for (sent, kept) in [
            (Some("image/PNG"), "image/png"),
            (Some("text/plain; charset=utf-8"), "text/plain"),
            (Some("text"), "application/octet-stream"),
            (Some("text/<b>"), "application/octet-stream"),
            (None, "application/octet-stream"),
        ] {
            assert_eq!(media_type(sent), kept);
        }
    }
}
