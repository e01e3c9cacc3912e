//! The way to the gateway, as a client goes it: network, TLS, upgrade, login, ping, clock.

use super::finding::Finding;
use super::{ids, proxy};
use crate::config::SOON_DAYS;
use crate::dial::TlsFailure;
use crate::peer_text::PeerText;
use crate::probe::{Course, Outcome, StageName, Target};
use std::io;
use std::time::{Duration, SystemTime};

/// A device's signature is good for two minutes; what is off by half of that is worth a line.
const SKEW: Duration = Duration::from_secs(60);

/// A person notices.
const SLOW_MS: f64 = 1000.0;

pub(super) fn check(target: &Target, course: &Course, found: &mut Vec<Finding>) {
    network(target, course, found);
    found.extend(tls(target, course));
    let Some(upgrade) = course.stage(StageName::Upgrade) else { return };
    match upgrade.outcome {
        Outcome::NotTried => return,
        Outcome::Passed => {
            found.push(Finding::new(ids::UPGRADE_OK, upgrade.about.clone()));
        }
        Outcome::Failed => {
            found.push(proxy::explain(target, course, &upgrade.about));
            return;
        }
    }
    if !course.challenged {
        let about =
            "a WebSocket opened, but no challenge came: another server than moorline answers";
        let fix =
            format!("moorline probe {}   # and compare the URL with gateway.port", target.text);
        found.push(Finding::new(ids::GATEWAY_OTHER, about).fix(fix));
    }
    found.extend(clock(course));
    login(course, found);
    found.extend(ping(course));
}

fn network(target: &Target, course: &Course, found: &mut Vec<Finding>) {
    let failed = |name| {
        course
            .stage(name)
            .filter(|stage| stage.outcome == Outcome::Failed)
            .map(|stage| &stage.about)
    };
    if let Some(why) = failed(StageName::Lookup) {
        let fix = format!("getent hosts {}", target.url.host());
        found.push(Finding::new(ids::NETWORK_LOOKUP, why.clone()).fix(fix));
    } else if let Some(why) = failed(StageName::Tcp) {
        let refused =
            |(_, error): &(_, io::Error)| error.kind() == io::ErrorKind::ConnectionRefused;
        found.push(match course.dead.iter().all(refused) {
            true => Finding::new(ids::NETWORK_REFUSED, why.clone()).fix(format!(
                "moorline serve --listen {}   # or start what stands before it",
                course.addresses[0]
            )),
            false => Finding::new(ids::NETWORK_UNREACHABLE, why.clone()).fix(format!(
                "nc -vz {} {}   # check firewall and route",
                target.url.host(),
                target.url.port()
            )),
        });
    } else if let Some(tcp) = course.stage(StageName::Tcp) {
        for (address, error) in &course.dead {
            let about = format!(
                "{address} of {} does not answer ({error}); clients lose time on it",
                target.url.host()
            );
            let fix = format!(
                "moorline serve --listen {address}   # or take the address out of the name"
            );
            found.push(Finding::new(ids::NETWORK_ADDRESS_DEAD, about).fix(fix));
        }
        if course.dead.is_empty() {
            found.push(Finding::new(ids::NETWORK_OK, tcp.about.clone()));
        }
    }
}

fn tls(target: &Target, course: &Course) -> Option<Finding> {
    let stage = course.stage(StageName::Tls)?;
    let about = stage.about.clone();
    let host = target.url.host();
    match (&course.tls, stage.outcome) {
        (None, Outcome::Passed) => {
            let days = course.certificate.as_ref().map(|one| one.days_left(SystemTime::now()));
            Some(match days {
                Some(days) if days < i64::from(SOON_DAYS) => {
                    Finding::new(ids::TLS_EXPIRES_SOON, about)
                        .fix("sudo certbot renew   # then reload what holds the certificate")
                }
                _ => Finding::new(ids::TLS_OK, about),
            })
        }
        (None, _) => None,
        (Some(failure), _) => Some(match failure {
            TlsFailure::Expired(_) | TlsFailure::NotYet(_) => Finding::new(ids::TLS_EXPIRED, about)
                .fix("sudo certbot renew   # then reload what holds the certificate"),
            TlsFailure::UnknownIssuer | TlsFailure::Authority => Finding::new(
                ids::TLS_UNTRUSTED,
                about,
            )
            .fix(format!(
                "moorline doctor {} --ca FILE   # or put the whole chain into the server's file",
                target.text
            )),
            TlsFailure::WrongName { presented, .. } => {
                let name = presented.first().map_or("A-NAME-OF-THE-CERTIFICATE", |name| name);
                let text = target.text.replacen(host, &PeerText(name).to_string(), 1);
                Finding::new(ids::TLS_WRONG_NAME, about).fix(format!("moorline doctor {text}"))
            }
            TlsFailure::NotTls => Finding::new(ids::TLS_NOT_TLS, about)
                .fix(format!("moorline doctor {}", target.text.replacen("wss://", "ws://", 1))),
            _ => Finding::new(ids::TLS_FAILED, about)
                .fix(format!("openssl s_client -connect {host}:{}", target.url.port())),
        }),
    }
}

/// This machine's clock against the other end's: the gateway's own, or the Date of what stands before it.
fn clock(course: &Course) -> Option<Finding> {
    let here = course.answered?;
    let date = course.answer.as_ref().and_then(|answer| answer.header("Date"));
    let there = match course.clock {
        Some(ms) => SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(ms))?,
        None => httpdate::parse_http_date(date?).ok()?,
    };
    let off = there.duration_since(here).unwrap_or_else(|error| error.duration());
    let about = format!("{:.1} s between this clock and the gateway's", off.as_secs_f64());
    Some(match off > SKEW {
        true => Finding::new(ids::CLOCK_SKEW, about)
            .fix("sudo timedatectl set-ntp true   # on both machines"),
        false => Finding::new(ids::CLOCK_OK, about),
    })
}

fn login(course: &Course, found: &mut Vec<Finding>) {
    let Some(connect) = course.stage(StageName::Connect) else { return };
    let about = connect.about.clone();
    found.push(match connect.outcome {
        Outcome::Passed => Finding::new(ids::LOGIN_OK, about),
        Outcome::Failed => Finding::new(ids::LOGIN_REFUSED, about)
            .fix("moorline doctor --token TOKEN   # the gateway's: see the findings tokens.* on its machine"),
        Outcome::NotTried => {
            Finding::new(ids::LOGIN_NOT_TRIED, about).fix("moorline doctor URL --token TOKEN")
        }
    });
}

fn ping(course: &Course) -> Option<Finding> {
    let stage = course.stage(StageName::Ping)?;
    match stage.outcome {
        Outcome::NotTried => None,
        Outcome::Failed => Some(
            Finding::new(ids::PING_FAILED, stage.about.clone())
                .fix("look for what alters or swallows WebSocket frames on the way"),
        ),
        Outcome::Passed => {
            let ms = stage.facts["roundTripMs"].as_f64().unwrap_or_default();
            let about = format!("{ms:.1} ms from Ping to Pong");
            Some(match ms > SLOW_MS {
                true => Finding::new(ids::PING_SLOW, about)
                    .fix("GET /ready at the gateway: it names a loop that is late"),
                false => Finding::new(ids::PING_OK, about),
            })
        }
    }
}
