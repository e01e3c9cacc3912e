//! A folder of files that the host has, such as a web application: which file a request is for, and what
//! browsers are told about it.
//!
//! ```text
//! /assets/app-Bx3kZ9aQ.js ─▶ assets/app-Bx3kZ9aQ.js.br, .gz, itself        kept for a year
//! /favicon.svg ────────────▶ favicon.svg                                   asked for again each time
//! /chat/main, as a page ───▶ chat/main, else index.html with <base href="/">
//! ```

use super::upload;
use crate::upgrade::RequestHead;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest as _, Sha256};
use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

/// A folder whose files are answered to GET and HEAD, after the same checks of address, Host and Origin as
/// everything else. Nobody has to log in for them, so there must be no secret among them.
///
/// A path without a file gets the folder's `index.html` where a page is asked for: applications have
/// addresses of their own below `/`. Paths of the gateway's own pages, of uploads and of
/// [`GatewayConfig::pages`](super::GatewayConfig::pages) stay theirs, except `/`, which is the folder's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// The folder, as the host finds it in [`SiteWork`](super::SiteWork).
    pub root: Arc<Path>,
    /// Bytes of a file; larger ones get 403. Each is sent in pieces of 64 KiB, so this bounds time and
    /// traffic, not memory.
    pub max_file_bytes: u64,
}

/// Bytes of a file that are in memory at once for a client.
pub(super) const PIECE: usize = 64 * 1024;

/// Bytes of the index, which is read whole.
pub(super) const MAX_INDEX: usize = 256 * 1024;

const INDEX: &str = "index.html";

/// What follows `<head>` in the index: below `/chat/` its relative addresses would mean something else.
const BASE: &str = "<base href=\"/\">";

/// Paths that are never the folder's, with all that is below them: what is not there should be told, not
/// answered with a page.
const RESERVED: [&str; 4] = ["/api", "/v1", "/console", "/ws"];

/// A file that a request may be for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) name: Arc<str>,
    /// The coding that it is kept in.
    encoding: Option<&'static str>,
    pub(super) is_index: bool,
}

/// Whether a path can be one of the folder's.
pub(super) fn is_of_site(head: &RequestHead<'_>) -> bool {
    let path = head.path();
    let is_below = |own: &str| {
        path.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    matches!(head.method(), "GET" | "HEAD")
        && !head.is_upgrade()
        && !upload::PATHS.contains(&path)
        && !RESERVED.iter().any(|own| is_below(own))
}

/// The files that a request may be for, the best first; none for a path that no file can have.
pub(super) fn candidates(head: &RequestHead<'_>) -> Vec<Candidate> {
    let plain = |name: String, is_index| Candidate { name: name.into(), encoding: None, is_index };
    let Some(name) = file_name(head.path()) else { return Vec::new() };
    if name.is_empty() || name == INDEX {
        return vec![plain(INDEX.into(), true)];
    }
    let mut found = Vec::new();
    if !name.ends_with('/') {
        let accepted = head.header_str("Accept-Encoding").unwrap_or_default();
        for (coding, extension) in [("br", "br"), ("gzip", "gz")] {
            if kind(&name).compressible && accepts_coding(accepted, coding) {
                let name = format!("{name}.{extension}").into();
                found.push(Candidate { name, encoding: Some(coding), is_index: false });
            }
        }
        found.push(plain(name, false));
    }
    if head.header_str("Accept").is_some_and(accepts_pages) {
        found.push(plain(INDEX.into(), true));
    }
    found
}

/// The name in the folder that a path stands for, with `/` between its parts. `None` where it could stand
/// for anything else: another folder, a hidden file, or what systems read differently.
fn file_name(path: &str) -> Option<String> {
    let bytes = path.strip_prefix('/')?.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        if *byte != b'%' {
            out.push(*byte);
            at += 1;
            continue;
        }
        let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        let byte = (digit(at + 1)? << 4 | digit(at + 2)?) as u8;
        // A separator that is escaped is none.
        if byte == b'/' {
            return None;
        }
        out.push(byte);
        at += 3;
    }
    let name = String::from_utf8(out).ok()?;
    if name.contains('\\') || name.contains(char::is_control) || name.len() > 1024 {
        return None;
    }
    let folders = name.strip_suffix('/').unwrap_or(&name);
    let is_plain = |part: &str| !part.is_empty() && !part.starts_with('.');
    (name.is_empty() || folders.split('/').all(is_plain)).then_some(name)
}

/// Whether a list of codings (RFC 9110 section 12.5.3) has this one.
fn accepts_coding(list: &str, coding: &str) -> bool {
    list.split(',').any(|item| {
        let (name, weight) = item.split_once(';').unwrap_or((item, ""));
        let never = weight.trim().strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0));
        name.trim().eq_ignore_ascii_case(coding) && !never
    })
}

/// Whether somebody asks for a page, as browsers do when they go somewhere.
fn accepts_pages(list: &str) -> bool {
    let is_html = |item: &str| {
        item.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/html"))
    };
    list.split(',').any(is_html)
}

// --- what browsers are told ----------------------------------------------------------------------

struct Kind {
    content_type: &'static str,
    compressible: bool,
}

/// What a file is, by its extension.
fn kind(name: &str) -> Kind {
    let file = name.rsplit('/').next().unwrap_or_default();
    let extension = file.rsplit_once('.').map_or("", |(_, extension)| extension);
    let extension = extension.to_ascii_lowercase();
    let known = TYPES.iter().find(|(known, ..)| *known == extension);
    let (content_type, compressible) =
        known.map_or(("application/octet-stream", false), |(_, kind, text)| (*kind, *text));
    Kind { content_type, compressible }
}

/// Extensions, their types, and whether it pays to compress them.
const TYPES: [(&str, &str, bool); 28] = [
    ("html", "text/html; charset=utf-8", true),
    ("htm", "text/html; charset=utf-8", true),
    ("js", "text/javascript; charset=utf-8", true),
    ("mjs", "text/javascript; charset=utf-8", true),
    ("css", "text/css; charset=utf-8", true),
    ("json", "application/json", true),
    ("map", "application/json", true),
    ("webmanifest", "application/manifest+json", true),
    ("svg", "image/svg+xml", true),
    ("wasm", "application/wasm", true),
    ("txt", "text/plain; charset=utf-8", true),
    ("md", "text/plain; charset=utf-8", true),
    ("xml", "application/xml", true),
    ("png", "image/png", false),
    ("jpg", "image/jpeg", false),
    ("jpeg", "image/jpeg", false),
    ("gif", "image/gif", false),
    ("webp", "image/webp", false),
    ("avif", "image/avif", false),
    ("ico", "image/x-icon", false),
    ("woff", "font/woff", false),
    ("woff2", "font/woff2", false),
    ("ttf", "font/ttf", false),
    ("otf", "font/otf", false),
    ("mp3", "audio/mpeg", false),
    ("wav", "audio/wav", false),
    ("mp4", "video/mp4", false),
    ("webm", "video/webm", false),
];

/// All that a page takes and connects to comes from here; pictures, sounds and icons that are read as data may
/// also be the page's own. Scripts are files, or stand in the index as it is on the disk. Styles may stand in
/// elements: frameworks put them there.
const POLICY: [&str; 12] = [
    "default-src 'self'",
    "style-src 'self' 'unsafe-inline'",
    "img-src 'self' data: blob:",
    "media-src 'self' data: blob:",
    "font-src 'self' data:",
    "connect-src 'self' data:",
    "worker-src 'self' blob:",
    "frame-src 'self' blob:",
    "object-src 'none'",
    "base-uri 'self'",
    "form-action 'self'",
    "frame-ancestors 'none'",
];

pub(super) type Headers = Vec<(&'static str, Cow<'static, str>)>;

/// The headers of a file. `scripts` are the sources of those that stand in it.
pub(super) fn headers(file: &Candidate, etag: &str, scripts: &[String]) -> Headers {
    let name = match file.encoding {
        Some("br") => file.name.strip_suffix(".br").unwrap_or(&file.name),
        Some(_) => file.name.strip_suffix(".gz").unwrap_or(&file.name),
        None => &file.name,
    };
    let Kind { content_type, compressible } = kind(name);
    let cache = if is_hashed(name) { "public, max-age=31536000, immutable" } else { "no-cache" };
    let mut policy = POLICY.join("; ");
    policy.push_str("; script-src 'self' 'wasm-unsafe-eval'");
    for script in scripts {
        policy.push(' ');
        policy.push_str(script);
    }
    let mut headers: Headers = vec![
        ("Content-Type", content_type.into()),
        ("Cache-Control", cache.into()),
        ("ETag", etag.to_string().into()),
        ("Content-Security-Policy", policy.into()),
        ("X-Content-Type-Options", "nosniff".into()),
        ("X-Frame-Options", "DENY".into()),
        ("Referrer-Policy", "no-referrer".into()),
        ("Cross-Origin-Resource-Policy", "same-origin".into()),
    ];
    if compressible && !file.is_index {
        headers.push(("Vary", "Accept-Encoding".into()));
    }
    if let Some(encoding) = file.encoding {
        headers.push(("Content-Encoding", encoding.into()));
    }
    headers
}

/// Whether the name changes with the content, as bundlers name what they put into `assets`:
/// `assets/app-Bx3kZ9aQ.js`. The hash has a capital or a digit, to tell it from a word.
fn is_hashed(name: &str) -> bool {
    const HASH: usize = 8;
    let Some((folder, file)) = name.rsplit_once('/') else { return false };
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    let Some((before, hash)) =
        stem.len().checked_sub(HASH).and_then(|at| stem.split_at_checked(at))
    else {
        return false;
    };
    folder.split('/').any(|part| part == "assets")
        && before.len() > 1
        && before.ends_with('-')
        && hash.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        && hash.bytes().any(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}

/// Whether one of these tags (RFC 9110 section 13.1.2) is the file's.
pub(super) fn is_known(if_none_match: &str, etag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_string();
    if_none_match.trim() == "*" || if_none_match.split(',').any(|tag| opaque(tag) == opaque(etag))
}

/// The index as it is served from any path, and the sources of its scripts for the policy.
pub(super) fn index(bytes: Vec<u8>) -> (Vec<u8>, Vec<String>) {
    let scripts = scripts(&bytes);
    let has_base = find(&bytes, b"<base", 0).is_some();
    match find(&bytes, b"<head", 0).and_then(|at| find(&bytes, b">", at)) {
        Some(end) if !has_base => {
            let (before, after) = bytes.split_at(end + 1);
            ([before, BASE.as_bytes(), after].concat(), scripts)
        }
        _ => (bytes, scripts),
    }
}

/// Scripts that stand in a page, as a policy names them (Content Security Policy 3 section 2.3.1).
fn scripts(page: &[u8]) -> Vec<String> {
    const MOST: usize = 32;
    let mut sources = Vec::new();
    let mut at = 0;
    while let Some(begin) = find(page, b"<script", at)
        && let Some(open) = find(page, b">", begin)
        && let Some(end) = find(page, b"</script", open)
        && sources.len() < MOST
    {
        at = end + 1;
        if find(&page[begin..open], b" src", 0).is_none() {
            // Parsers see one kind of line break only (HTML section 13.2.3.5).
            let text = String::from_utf8_lossy(&page[open + 1..end]);
            let text = text.replace("\r\n", "\n").replace('\r', "\n");
            let hash = BASE64_STANDARD.encode(Sha256::digest(text.as_bytes()));
            sources.push(format!("'sha256-{hash}'"));
        }
    }
    sources
}

/// Where this stands next, any case.
fn find(bytes: &[u8], what: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    let at = rest.windows(what.len()).position(|window| window.eq_ignore_ascii_case(what))?;
    Some(from + at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    fn names(path: &str, headers: &str) -> Vec<String> {
        let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
        let head = RequestHead::parse(head.as_bytes(), &Limits::default()).expect("a request");
        candidates(&head).iter().map(|file| file.name.to_string()).collect()
    }

    const PAGE: &str = "Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\n";

    #[test]
    fn a_path_is_a_file_or_a_page_or_nothing() {
        for (path, headers, expected) in [
            ("/", "", &["index.html"][..]),
            ("/index.html?v=1", PAGE, &["index.html"]),
            ("/a.js", "Accept: */*\r\n", &["a.js"]),
            ("/a.js", "Accept-Encoding: gzip, br;q=0\r\n", &["a.js.gz", "a.js"]),
            ("/a.js", "Accept-Encoding: gzip, deflate, br\r\n", &["a.js.br", "a.js.gz", "a.js"]),
            ("/a.png", "Accept-Encoding: br\r\n", &["a.png"]),
            ("/chat/main", PAGE, &["chat/main", "index.html"]),
            ("/chat/main", "Accept: application/json\r\n", &["chat/main"]),
            ("/chat/", PAGE, &["index.html"]),
            ("/chat/", "", &[]),
            ("/a%20b/%C3%BC.css", "", &["a b/\u{fc}.css"]),
        ] {
            assert_eq!(names(path, headers), expected, "{path} {headers}");
        }
    }

    #[test]
    fn no_path_leads_out_of_the_folder_or_to_what_is_hidden() {
        for path in [
            "/..",
            "/../a",
            "/a/../../b",
            "/a/..",
            "/./a",
            "/%2e%2e/a",
            "/%2E%2e%2fa",
            "/a%2fb",
            "/a%2Fb",
            "/..%5ca",
            "/a\\b",
            "/%5c",
            "/a%00",
            "/a%00.js",
            "/%0a",
            "/a%7f",
            "/%c0%ae%c0%ae/a",
            "/%ff",
            "/%",
            "/%2",
            "/%zz",
            "//",
            "//a",
            "/a//b",
            "/a//",
            "/.git/config",
            "/a/.env",
            "/...",
        ] {
            assert_eq!(names(path, PAGE), Vec::<String>::new(), "{path}");
        }
        assert_eq!(names(&format!("/{}", "a".repeat(1024)), "").len(), 1);
        assert_eq!(names(&format!("/{}", "a".repeat(1025)), "").len(), 0);
    }

    #[test]
    fn only_what_has_a_hash_in_its_name_is_kept() {
        for name in
            ["assets/app-Bx3kZ9aQ.js", "assets/a-b-_9-abcde.css", "x/assets/y/f-AAAAAAAA.woff2"]
        {
            assert!(is_hashed(name), "{name}");
        }
        for name in [
            "assets/about-settings.js",
            "assets/app.js",
            "assets/-Bx3kZ9aQ.js",
            "assets/appBx3kZ9aQ.js",
            "assets/app-Bx3kZ9a.js",
            "assets/app-Bx3kZ9a\u{fc}.js",
            "app-Bx3kZ9aQ.js",
            "themes/app-Bx3kZ9aQ.css",
            "index.html",
        ] {
            assert!(!is_hashed(name), "{name}");
        }
    }

    #[test]
    fn tags_are_compared_weakly() {
        for list in ["*", "\"a\"", "W/\"a\"", "\"b\", W/\"a\"", " \"a\" "] {
            assert!(is_known(list, "W/\"a\""), "{list}");
        }
        for list in ["", "\"b\"", "a", "\"ab\"", "\"A\""] {
            assert!(!is_known(list, "W/\"a\""), "{list}");
        }
    }

    #[test]
    fn the_index_gets_a_base_and_its_scripts_are_named() {
        let served = |page: &str| {
            let (bytes, scripts) = index(page.into());
            (String::from_utf8(bytes).expect("text"), scripts)
        };
        let (page, scripts) = served(
            "<!doctype html><HTML><Head lang=en><script>let a\r\n</script>\
             <script type=module src=./a.js></script></head>",
        );
        assert!(page.contains("<Head lang=en><base href=\"/\"><script>let a\r\n</script>"));
        let hash = BASE64_STANDARD.encode(Sha256::digest("let a\n"));
        assert_eq!(scripts, [format!("'sha256-{hash}'")]);
        // Who has one has decided, and what is no page stays as it is.
        for page in ["<head><base href=\"/x/\">", "", "<head", "plain", "<script>a"] {
            assert_eq!(served(page), (page.into(), Vec::new()));
        }
    }

    #[test]
    fn a_policy_can_be_written_for_a_page_of_many_scripts() {
        let page = "<head>".to_string() + &"<script>1</script>".repeat(1000);
        let (_, scripts) = index(page.into());
        assert_eq!(scripts.len(), 32);
    }
}
