//! `moorline conformance-client`: every case of a conformance suite's fuzzing server, as an echo.
//!
//! The suite's protocol: `/getCaseCount` sends the number of cases, `/runCase?case=N&agent=NAME` runs
//! one of them, `/updateReports?agent=NAME` writes the reports. One connection at a time.

use crate::cli::ConformanceClientArgs;
use crate::dial::{Dialer, TlsFailure};
use crate::failure::Failure;
use crate::peer_text::PeerText;
use crate::{dial, echo};
use moorline_core::{Cause, CloseCode, Event, Limits, Outbox};
use moorline_mio::{Client, ConnId, Connections, Handle, Handler, Peer};
use std::fmt;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the suite may take to send the number of cases, or to write its reports. A case has the
/// time that the suite gives it.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

pub(crate) fn run(args: &ConformanceClientArgs) -> Result<(), Failure> {
    let url = dial::url(&args.url)?;
    if url.target().contains('?') {
        return Err(Failure::Config(format!("{}: leave the query out", args.url)));
    }
    let addresses = dial::addresses(&url)?;
    let client = Client::new()?;
    let mut limits = echo::limits(args.max_message, args.deflate);
    if let Some(deflate) = &mut limits.deflate {
        deflate.no_context_takeover = args.no_context_takeover;
    }
    let dialer = Dialer::new(url, &args.trust)?;
    let suite = Suite { dialer, agent: args.agent.clone() };
    let mut run = Run::new(suite, addresses, limits, &client);
    client.run(&mut run)?;
    let cases = run.outcome.unwrap_or(Ok(0)).map_err(Failure::Runtime)?;
    // The verdicts are the suite's; that it was asked for them is all there is to say.
    let _ = writeln!(io::stdout(), "ran {cases} cases as {}", args.agent);
    Ok(())
}

/// Where the suite is, and what this client is called there.
#[derive(Debug)]
struct Suite {
    dialer: Dialer,
    agent: String,
}

impl Suite {
    fn target(&self, step: Step) -> String {
        let (base, agent) = (self.dialer.url().target().trim_end_matches('/'), &self.agent);
        match step {
            Step::Count => format!("{base}/getCaseCount"),
            Step::Case(case) => format!("{base}/runCase?case={case}&agent={agent}"),
            Step::Reports => format!("{base}/updateReports?agent={agent}"),
        }
    }
}

/// What a connection is for.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
enum Step {
    Count,
    /// Counted from 1.
    Case(u32),
    Reports,
}

impl Step {
    /// The step after this one, of a suite with so many cases.
    fn next(self, cases: u32) -> Option<Self> {
        let done = match self {
            Self::Count => 0,
            Self::Case(case) => case,
            Self::Reports => return None,
        };
        Some(if done < cases { Self::Case(done + 1) } else { Self::Reports })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count => f.write_str("asking for the number of cases"),
            Self::Case(case) => write!(f, "case {case}"),
            Self::Reports => f.write_str("asking for the reports"),
        }
    }
}

#[derive(Debug, Copy, Clone, PartialEq, Eq)]
enum Link {
    /// The next connection is due.
    Due,
    Opening,
    /// Open since this time.
    Open(Instant),
}

/// The whole run: the handler of a loop with one connection after the other.
#[derive(Debug)]
struct Run {
    suite: Suite,
    /// The host's addresses; the one that answers first is used for all connections.
    addresses: Vec<SocketAddr>,
    limits: Arc<Limits>,
    handle: Handle,
    step: Step,
    link: Link,
    /// What was wrong with TLS, until the end of the connection is told.
    tls_failure: Option<TlsFailure>,
    /// What the suite said.
    cases: Option<u32>,
    /// Set once, at the end: the cases that were run, or what went wrong.
    outcome: Option<Result<u32, String>>,
}

impl Run {
    fn new(suite: Suite, addresses: Vec<SocketAddr>, limits: Limits, client: &Client) -> Self {
        Self {
            suite,
            addresses,
            limits: Arc::new(limits),
            handle: client.handle(),
            step: Step::Count,
            link: Link::Due,
            tls_failure: None,
            cases: None,
            outcome: None,
        }
    }

    fn end(&mut self, outcome: Result<u32, String>) {
        if self.outcome.is_none() {
            self.outcome = Some(outcome.map_err(|why| format!("{}: {why}", self.step)));
            self.handle.stop();
        }
    }

    fn connect(&mut self, connections: &mut Connections<'_>) {
        let target = self.suite.target(self.step);
        let (dialer, limits) = (&self.suite.dialer, self.limits.clone());
        let connected = dialer.connect(connections, self.addresses[0], &target, limits);
        match connected {
            Ok(_) => self.link = Link::Opening,
            Err(why) => self.end(Err(why)),
        }
    }

    fn closed(&mut self, cause: Cause<'_>) {
        let was_open = matches!(std::mem::replace(&mut self.link, Link::Due), Link::Open(_));
        if !was_open {
            return self.unanswered(cause);
        }
        match (self.step, self.cases) {
            (Step::Count, None) => self.end(Err(format!("{cause}, but no number came"))),
            // However a case ends, the suite judges it. After its reports some cut the connection.
            (step, cases) => match step.next(cases.unwrap_or(0)) {
                Some(next) => self.step = next,
                None => self.end(Ok(cases.unwrap_or(0))),
            },
        }
    }

    /// The connection ended before it opened.
    fn unanswered(&mut self, cause: Cause<'_>) {
        if let Some(failure) = self.tls_failure.take() {
            return self.end(Err(failure.to_string()));
        }
        match cause {
            Cause::Eof if self.step == Step::Count && self.addresses.len() > 1 => {
                self.addresses.remove(0);
            }
            Cause::Eof => self.end(Err(format!("nobody answers at {}", self.addresses[0]))),
            other => self.end(Err(format!("{other}; is this a suite's fuzzing server?"))),
        }
    }

    fn counted(&mut self, text: &str, outbox: &mut Outbox) {
        match text.trim().parse() {
            Ok(cases) => {
                self.cases = Some(cases);
                outbox.close(CloseCode::NORMAL, "");
            }
            Err(_) => self.end(Err(format!("\"{}\" is not a number", PeerText(text)))),
        }
    }

    fn expire(&mut self, now: Instant) {
        if self.due().is_some_and(|due| due <= now) {
            let seconds = ANSWER_WITHIN.as_secs();
            self.end(Err(format!("no answer in {seconds} s; is this a suite's fuzzing server?")));
        }
    }

    /// When the suite must have answered.
    fn due(&self) -> Option<Instant> {
        match (self.step, self.link) {
            (Step::Case(_), _) | (_, Link::Due | Link::Opening) => None,
            _ if self.outcome.is_some() => None,
            (_, Link::Open(since)) => Some(since + ANSWER_WITHIN),
        }
    }
}

impl Handler for Run {
    fn event(&mut self, now: Instant, _: ConnId, event: Event<'_>, outbox: &mut Outbox) {
        let sent = match (event, self.step) {
            (Event::Open, _) => {
                self.link = Link::Open(now);
                Ok(())
            }
            (Event::Closed(cause), _) => {
                self.closed(cause);
                Ok(())
            }
            (Event::Text(text), Step::Count) => {
                self.counted(text, outbox);
                Ok(())
            }
            (Event::Text(text), Step::Case(_)) => outbox.text(text),
            (Event::Binary(data), Step::Case(_)) => outbox.binary(data),
            _ => Ok(()),
        };
        if sent.is_err() {
            outbox.give_up();
        }
    }

    fn handshake_failed(
        &mut self,
        _: Instant,
        _: ConnId,
        _: Option<Peer>,
        failure: &moorline_mio::TlsFailure,
    ) {
        self.tls_failure = TlsFailure::of_session(failure);
    }

    fn turn(&mut self, now: Instant, connections: &mut Connections<'_>) {
        self.expire(now);
        if self.outcome.is_none() && self.link == Link::Due {
            self.connect(connections);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.due()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dial::TrustArgs;

    fn suite(url: &str) -> Suite {
        let url = dial::url(url).unwrap();
        Suite { dialer: Dialer::new(url, &TrustArgs::default()).unwrap(), agent: "me".into() }
    }

    fn run(addresses: &[&str]) -> Run {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let client = Client::new().unwrap();
        Run::new(suite("ws://localhost:9001"), addresses, Limits::default(), &client)
    }

    fn why(run: Run) -> String {
        run.outcome.unwrap().unwrap_err()
    }

    #[test]
    fn the_targets_are_below_the_url_that_was_given() {
        for (url, base) in [
            ("ws://localhost:9001", ""),
            ("ws://localhost:9001/", ""),
            ("ws://localhost/suite/", "/suite"),
        ] {
            let suite = suite(url);
            assert_eq!(suite.target(Step::Count), format!("{base}/getCaseCount"));
            assert_eq!(suite.target(Step::Case(7)), format!("{base}/runCase?case=7&agent=me"));
            assert_eq!(suite.target(Step::Reports), format!("{base}/updateReports?agent=me"));
        }
    }

    #[test]
    fn every_case_is_run_once_between_the_count_and_the_reports() {
        for cases in [0, 1, 517] {
            let mut steps = std::iter::successors(Some(Step::Count), |step| step.next(cases));
            assert_eq!(steps.next(), Some(Step::Count));
            for case in 1..=cases {
                assert_eq!(steps.next(), Some(Step::Case(case)));
            }
            assert_eq!((steps.next(), steps.next()), (Some(Step::Reports), None));
        }
    }

    #[test]
    fn a_case_that_ends_badly_is_followed_by_the_next() {
        for cause in [Cause::Eof, Cause::SlowReader, Cause::Peer(CloseCode::PROTOCOL, "")] {
            let mut run = run(&["127.0.0.1:9001"]);
            (run.step, run.cases) = (Step::Case(1), Some(2));
            run.link = Link::Open(Instant::now());
            run.closed(cause);
            assert_eq!((run.step, run.link), (Step::Case(2), Link::Due));
            assert_eq!(run.outcome, None);
        }
    }

    #[test]
    fn a_case_without_a_connection_ends_the_run() {
        let mut run = run(&["127.0.0.1:9001", "127.0.0.2:9001"]);
        (run.step, run.cases, run.link) = (Step::Case(5), Some(9), Link::Opening);
        run.closed(Cause::Eof);
        assert_eq!(why(run), "case 5: nobody answers at 127.0.0.1:9001");
    }

    #[test]
    fn the_count_is_asked_at_each_address_until_one_answers() {
        let mut run = run(&["[::1]:9001", "127.0.0.1:9001"]);
        run.link = Link::Opening;
        run.closed(Cause::Eof);
        assert_eq!((run.step, run.link, &run.outcome), (Step::Count, Link::Due, &None));
        run.link = Link::Opening;
        run.closed(Cause::Eof);
        assert_eq!(why(run), "asking for the number of cases: nobody answers at 127.0.0.1:9001");
    }

    #[test]
    fn count_and_reports_have_a_deadline_and_cases_have_none() {
        let now = Instant::now();
        for step in [Step::Count, Step::Reports] {
            let mut run = run(&["127.0.0.1:9001"]);
            (run.step, run.link) = (step, Link::Open(now));
            assert_eq!(run.deadline(), Some(now + ANSWER_WITHIN));
            run.expire(now + ANSWER_WITHIN - Duration::from_millis(1));
            assert_eq!(run.outcome, None);
            run.expire(now + ANSWER_WITHIN);
            assert_eq!(run.deadline(), None, "it has passed");
            assert!(why(run).contains("no answer in 30 s"));
        }
        let mut run = run(&["127.0.0.1:9001"]);
        (run.step, run.link) = (Step::Case(1), Link::Open(now));
        assert_eq!(run.deadline(), None);
        run.expire(now + Duration::from_secs(3600));
        assert_eq!(run.outcome, None);
    }

    #[test]
    fn the_run_ends_when_the_suite_lets_go_after_its_reports() {
        for cause in [Cause::Peer(CloseCode::NORMAL, ""), Cause::Eof] {
            let mut run = run(&["127.0.0.1:9001"]);
            (run.step, run.cases) = (Step::Reports, Some(3));
            run.link = Link::Open(Instant::now());
            run.closed(cause);
            assert_eq!(run.outcome, Some(Ok(3)));
        }
    }
}
