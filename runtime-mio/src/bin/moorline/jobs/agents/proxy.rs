//! Which proxy a connection goes through, by the variables that most programs read: `HTTP_PROXY`,
//! `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, in either case. Those in lower case win, as with curl.

use super::endpoint::Endpoint;
use crate::failure::Failure;
use moorline_core::upgrade::{Proxy, is_without_proxy};

/// What the variables say. Passwords may be among it.
#[derive(Clone, Default)]
pub(super) struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    /// A list as `NO_PROXY` has it.
    no: String,
}

impl Proxies {
    /// Reads the variables with `get`; also gives what is wrong with them, without their values.
    pub(super) fn read(
        get: impl Fn(&str) -> Result<Option<String>, Failure>,
    ) -> (Self, Vec<String>) {
        let mut wrong = Vec::new();
        let mut either = |name: &str| {
            [name.to_string(), name.to_ascii_uppercase()].into_iter().find_map(|name| {
                let read = get(&name).map_err(|why| wrong.push(format!("{why}: it is ignored")));
                Some((name, read.ok()??))
            })
        };
        let (all, no) = (either("all_proxy"), either("no_proxy"));
        let (http, https) = (either("http_proxy"), either("https_proxy"));
        let mut proxy = |found: Option<(String, String)>| {
            let (name, value) = found.or_else(|| all.clone())?;
            if value.trim().is_empty() {
                return None;
            }
            let ignored = |why| format!("{name} is ignored: {why}; write it as http://proxy:3128");
            Proxy::parse(value.trim()).map_err(|why| wrong.push(ignored(why))).ok()
        };
        let (http, https) = (proxy(http), proxy(https));
        let no = no.map(|(_, value)| value).unwrap_or_default();
        (Self { http, https, no }, wrong)
    }

    /// The proxy for this endpoint.
    pub(super) fn of(&self, endpoint: &Endpoint) -> Option<&Proxy> {
        let proxy = if endpoint.is_tls { &self.https } else { &self.http };
        proxy.as_ref().filter(|_| !is_without_proxy(&endpoint.host, endpoint.port, &self.no))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stands for bytes that are none.
    const NO_TEXT: &str = "\u{fffd}";

    fn read(variables: &[(&str, &str)]) -> (Proxies, Vec<String>) {
        let get = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            match found {
                Some((_, NO_TEXT)) => Err(Failure::Config(format!("{name} is not text"))),
                found => Ok(found.map(|(_, value)| value.to_string())),
            }
        };
        Proxies::read(get)
    }

    fn host_for(variables: &[(&str, &str)], url: &str) -> Option<String> {
        let endpoint = Endpoint::parse(url).expect(url);
        read(variables).0.of(&endpoint).map(|proxy| format!("{}:{}", proxy.host(), proxy.port()))
    }

    #[test]
    fn each_scheme_has_its_proxy_and_lower_case_wins() {
        let variables = [
            ("HTTP_PROXY", "http://upper:1"),
            ("http_proxy", "http://lower:1/"),
            ("HTTPS_PROXY", "secure"),
        ];
        assert_eq!(host_for(&variables, "http://a").as_deref(), Some("lower:1"));
        assert_eq!(host_for(&variables, "https://a").as_deref(), Some("secure:80"));
        assert_eq!(
            host_for(&[("ALL_PROXY", "http://all:2")], "https://a").as_deref(),
            Some("all:2")
        );
        assert_eq!(host_for(&[("HTTP_PROXY", "")], "http://a"), None);
        assert_eq!(host_for(&[], "https://a"), None);
    }

    #[test]
    fn what_is_no_text_is_told_and_passed_over() {
        let variables = [("http_proxy", NO_TEXT), ("HTTP_PROXY", "http://upper:1")];
        assert_eq!(host_for(&variables, "http://a").as_deref(), Some("upper:1"));
        assert_eq!(read(&variables).1, ["http_proxy is not text: it is ignored"]);
    }

    #[test]
    fn what_no_proxy_names_is_reached_without_one() {
        let variables = [("HTTP_PROXY", "http://p:1"), ("no_proxy", "Example.com:81, 10.0.0.0/8")];
        for (url, expected) in [
            ("http://api.example.com:81", false),
            ("http://example.com", true),
            ("http://10.200.3.4", false),
        ] {
            assert_eq!(host_for(&variables, url).is_some(), expected, "{url}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_without_its_password() {
        let endpoint = Endpoint::parse("https://api.example.com").expect("good");
        let (proxies, wrong) = read(&[("HTTPS_PROXY", "socks5://ann:hunter2@proxy")]);
        assert!(proxies.of(&endpoint).is_none());
        assert!(wrong[0].starts_with("HTTPS_PROXY is ignored") && !wrong[0].contains("hunter2"));
    }
}
