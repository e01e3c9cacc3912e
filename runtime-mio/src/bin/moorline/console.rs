//! The web page: static files in the binary, and what browsers are told about them.

use moorline_core::gateway::StaticPage;

/// The page is at `/`, and at `/console` for where something else is at `/`. Its files name each other
/// relative to it, so a proxy may put all of it below a path of its own.
pub(crate) const PAGES: &[StaticPage] = &ALL;

/// The same without `/`.
pub(crate) const PAGES_BESIDE: &[StaticPage] = ALL.split_at(1).1;

const ALL: [StaticPage; 10] = [
    page("/", HTML, include_str!("console/index.html")),
    page("/console", HTML, include_str!("console/index.html")),
    page("/console/style.css", CSS, include_str!("console/style.css")),
    page("/console/icon.svg", SVG, include_str!("console/icon.svg")),
    page("/console/main.js", JS, include_str!("console/main.js")),
    page("/console/link.js", JS, include_str!("console/link.js")),
    page("/console/endings.js", JS, include_str!("console/endings.js")),
    page("/console/agents.js", JS, include_str!("console/agents.js")),
    page("/console/chat.js", JS, include_str!("console/chat.js")),
    page("/console/view.js", JS, include_str!("console/view.js")),
];

type Headers = [(&'static str, &'static str); 6];

const HTML: &Headers = &headers("text/html; charset=utf-8");
const CSS: &Headers = &headers("text/css; charset=utf-8");
const JS: &Headers = &headers("text/javascript; charset=utf-8");
const SVG: &Headers = &headers("image/svg+xml");

const fn page(path: &'static str, headers: &'static Headers, body: &'static str) -> StaticPage {
    StaticPage { path, headers, body }
}

/// The page takes everything from where it came, holds nothing inline, and is shown in no frame. No text
/// of a peer can become markup in it: browsers that know Trusted Types refuse to try.
const fn headers(content_type: &'static str) -> Headers {
    [
        ("Content-Type", content_type),
        // Files of two versions would not fit together.
        ("Cache-Control", "no-cache"),
        (
            "Content-Security-Policy",
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
             connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
             require-trusted-types-for 'script'; trusted-types 'none'",
        ),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
    ]
}
