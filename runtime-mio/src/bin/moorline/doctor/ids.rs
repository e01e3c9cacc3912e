//! Every id of a finding, with its severity. docs/doctor.md has the same table; a test compares the two.

use super::finding::Severity;

/// What a finding is called, for scripts and searches. It does not change.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Id {
    pub(crate) name: &'static str,
    pub(crate) severity: Severity,
}

macro_rules! ids {
    ($($constant:ident $name:literal $severity:ident;)*) => {
        $(pub(super) const $constant: &Id = &Id { name: $name, severity: Severity::$severity };)*

        /// All of them.
        #[cfg(test)]
        const ALL: &[&Id] = &[$($constant),*];
    };
}

ids! {
    AGENTS_DOWN "agents.down" Error;
    AGENTS_NO_WORKER "agents.no-worker" Error;
    AGENTS_OK "agents.ok" Ok;
    AGENTS_REFUSED "agents.refused" Error;
    AGENTS_TRYING "agents.trying" Warning;
    AGENTS_UNTESTED "agents.untested" Info;
    CLOCK_IMPLAUSIBLE "clock.implausible" Error;
    CLOCK_OK "clock.ok" Ok;
    CLOCK_SKEW "clock.skew" Warning;
    CONFIG_INVALID "config.invalid" Error;
    CONFIG_OK "config.ok" Ok;
    CONFIG_UNSET "config.unset" Info;
    CONFIG_WARNING "config.warning" Warning;
    DATABASE_DAMAGED "database.damaged" Error;
    DATABASE_MISSING "database.missing" Info;
    DATABASE_OK "database.ok" Ok;
    DATABASE_UNREADABLE "database.unreadable" Error;
    DISK_FULL "disk.full" Error;
    DISK_LOW "disk.low" Warning;
    DISK_OK "disk.ok" Ok;
    FILES_LIMIT "files.limit" Warning;
    FILES_OK "files.ok" Ok;
    FORWARDED_FORGED "forwarded.forged" Error;
    FORWARDED_OK "forwarded.ok" Ok;
    FORWARDED_UNCONFIGURED "forwarded.unconfigured" Warning;
    FORWARDED_UNTESTED "forwarded.untested" Info;
    GATEWAY_BUSY "gateway.busy" Error;
    GATEWAY_HOST_REFUSED "gateway.host-refused" Error;
    GATEWAY_NO_TOKEN "gateway.no-token-behind-proxy" Error;
    GATEWAY_ORIGIN_REFUSED "gateway.origin-refused" Error;
    GATEWAY_OTHER "gateway.other" Warning;
    HOST_ALLOWED "host.allowed" Ok;
    HOST_REFUSED "host.refused" Error;
    IDLE_CUT "idle.cut" Error;
    IDLE_HELD "idle.held" Ok;
    IDLE_UNTESTED "idle.untested" Info;
    LOGIN_NOT_TRIED "login.not-tried" Info;
    LOGIN_OK "login.ok" Ok;
    LOGIN_REFUSED "login.refused" Error;
    LOOPS_NONE "loops.none" Ok;
    LOOPS_RECONNECTING "loops.reconnecting" Warning;
    LOOPS_LOGINS "loops.refused-logins" Warning;
    LOOPS_UPGRADES "loops.refused-upgrades" Warning;
    LOOPS_UNTESTED "loops.untested" Info;
    NETWORK_ADDRESS_DEAD "network.address-dead" Warning;
    NETWORK_LOOKUP "network.lookup" Error;
    NETWORK_OK "network.ok" Ok;
    NETWORK_REFUSED "network.refused" Error;
    NETWORK_UNREACHABLE "network.unreachable" Error;
    ORIGIN_ALLOWED "origin.allowed" Ok;
    ORIGIN_REFUSED "origin.refused" Error;
    PING_FAILED "ping.failed" Error;
    PING_OK "ping.ok" Ok;
    PING_SLOW "ping.slow" Warning;
    PORT_FREE "port.free" Warning;
    PORT_HELD "port.held" Info;
    PORT_HIDDEN "port.hidden" Info;
    PORT_UNTESTED "port.untested" Info;
    PROXY_ACCEPT_KEY "proxy.accept-key" Error;
    PROXY_ANSWER "proxy.answer-headers" Error;
    PROXY_BAD_GATEWAY "proxy.bad-gateway" Error;
    PROXY_BAD_REQUEST "proxy.bad-request" Error;
    PROXY_CLOUDFLARE "proxy.cloudflare" Error;
    PROXY_CUT "proxy.cut" Error;
    PROXY_HTTP_1_0 "proxy.http-1.0" Error;
    PROXY_LOGIN_PAGE "proxy.login-page" Error;
    PROXY_NO_ROUTE "proxy.no-route" Error;
    PROXY_NO_SERVER "proxy.no-server" Error;
    PROXY_NOT_HTTP "proxy.not-http" Error;
    PROXY_OTHER_ANSWER "proxy.other-answer" Error;
    PROXY_PAGE "proxy.page-instead" Error;
    PROXY_PLAIN_TO_TLS "proxy.plain-to-tls" Error;
    PROXY_RATE_LIMIT "proxy.rate-limit" Error;
    PROXY_REDIRECT "proxy.redirect" Error;
    PROXY_TIMEOUT "proxy.timeout" Error;
    PROXY_TLS_TO_PLAIN "proxy.tls-to-plain" Error;
    PROXY_UPGRADE_DROPPED "proxy.upgrade-dropped" Error;
    PROXY_UPGRADE_HEADER "proxy.upgrade-header-missing" Error;
    STATE_LOCKED "state.locked" Info;
    STATE_MISSING "state.missing" Info;
    STATE_OK "state.ok" Ok;
    STATE_OPEN "state.open-to-others" Error;
    STATE_UNLOCKED "state.unlocked" Info;
    STATE_UNTESTED "state.untested" Info;
    STATE_UNWRITABLE "state.unwritable" Error;
    TLS_EXPIRED "tls.expired" Error;
    TLS_EXPIRES_SOON "tls.expires-soon" Warning;
    TLS_FAILED "tls.failed" Error;
    TLS_FILE_EXPIRES_SOON "tls.file-expires-soon" Warning;
    TLS_FILE_NOT_SHOWN "tls.file-not-shown" Warning;
    TLS_FILE_OK "tls.file-ok" Ok;
    TLS_FILE_UNUSABLE "tls.file-unusable" Error;
    TLS_NOT_TLS "tls.not-tls" Error;
    TLS_OK "tls.ok" Ok;
    TLS_UNTRUSTED "tls.untrusted" Error;
    TLS_WRONG_NAME "tls.wrong-name" Error;
    TOKENS_MISMATCH "tokens.mismatch" Warning;
    TOKENS_NONE "tokens.none" Info;
    TOKENS_OK "tokens.ok" Ok;
    UPGRADE_OK "upgrade.ok" Ok;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ids and severities in the table of docs/doctor.md.
    fn documented() -> Vec<(&'static str, &'static str)> {
        let text = include_str!("../../../../../docs/doctor.md");
        let part = text.split("### Findings").nth(1).expect("the heading");
        let rows = part.lines().filter_map(|line| line.strip_prefix("| `"));
        rows.map(|row| {
            let (id, rest) = row.split_once("` | ").expect("an id");
            (id, rest.split(" |").next().expect("a severity"))
        })
        .collect()
    }

    #[test]
    fn the_documentation_has_every_id_and_no_other() {
        let known: Vec<_> = ALL.iter().map(|id| (id.name, id.severity.as_str())).collect();
        assert_eq!(documented(), known);
    }

    #[test]
    fn ids_are_unique_and_in_order() {
        for pair in ALL.windows(2) {
            assert!(pair[0].name < pair[1].name, "{} {}", pair[0].name, pair[1].name);
        }
    }
}
