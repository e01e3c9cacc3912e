//! Scopes: what a connection of this dialect may do, as words that a client asks for.
//!
//! A client's words only ever narrow what its credential allows. The set is kept as it was asked for,
//! as clients are told what they have got; what a word brings along counts when it is asked of.

use super::super::json;
use super::super::principal::Role;
use std::fmt;

/// A set of scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Scopes(u16);

impl Scopes {
    /// No scope at all: all that is left are the methods that need none.
    pub(in crate::gateway) const NONE: Self = Self(0);
    /// Sees sessions, runs and the state of the gateway.
    pub(in crate::gateway) const READ: Self = Self(1);
    /// Talks to agents.
    pub(in crate::gateway) const WRITE: Self = Self(1 << 1);
    /// Everything.
    pub(in crate::gateway) const ADMIN: Self = Self(1 << 2);
    /// Decides what agents ask leave for.
    pub(in crate::gateway) const APPROVALS: Self = Self(1 << 3);
    /// Answers what agents ask.
    pub(in crate::gateway) const QUESTIONS: Self = Self(1 << 4);
    /// Lets devices in and throws them out.
    pub(in crate::gateway) const PAIRING: Self = Self(1 << 5);
    /// Speaks with agents aloud.
    pub(in crate::gateway) const TALK: Self = Self(1 << 6);
    /// Sees the secrets of the speech services.
    pub(in crate::gateway) const TALK_SECRETS: Self = Self(1 << 7);
    /// Sees sessions, and nothing else that [`Scopes::READ`] shows.
    pub(in crate::gateway) const SESSIONS_READ: Self = Self(1 << 8);
    /// Changes sessions, and nothing else that [`Scopes::WRITE`] changes.
    pub(in crate::gateway) const SESSIONS_WRITE: Self = Self(1 << 9);
    /// Every scope.
    pub(in crate::gateway) const ALL: Self = Self((1 << WORDS.len()) - 1);

    /// The scope of a word; none if there is no such scope.
    pub(in crate::gateway) fn parse(word: &str) -> Option<Self> {
        WORDS.iter().find(|(_, known)| *known == word).map(|(scope, _)| *scope)
    }

    /// The scopes of these words, and the words that are none: of a newer client, or mistyped.
    pub(in crate::gateway) fn of<T: AsRef<str>>(
        words: impl IntoIterator<Item = T>,
    ) -> (Self, Vec<T>) {
        let mut scopes = Self::NONE;
        let mut unknown = Vec::new();
        for word in words {
            match Self::parse(word.as_ref()) {
                Some(scope) => scopes = scopes.or(scope),
                None => unknown.push(word),
            }
        }
        (scopes, unknown)
    }

    /// What a role of the gateway can have at most.
    pub(in crate::gateway) const fn of_role(role: Role) -> Self {
        match role {
            Role::Agent => Self::NONE,
            Role::Viewer => Self::READ.implied(),
            Role::Operator => Self::WRITE.implied().or(Self::APPROVALS).or(Self::QUESTIONS),
            Role::Admin | Role::Owner => Self::ALL,
        }
    }

    /// In one or the other.
    pub(in crate::gateway) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// In both.
    pub(in crate::gateway) const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// In this one but not in the other.
    pub(in crate::gateway) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether there is none.
    pub(in crate::gateway) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// With what each of them brings along.
    pub(in crate::gateway) const fn implied(self) -> Self {
        if self.has(Self::ADMIN) {
            return Self::ALL;
        }
        let mut all = self;
        if all.has(Self::WRITE) {
            all = all.or(Self::READ).or(Self::TALK).or(Self::SESSIONS_WRITE);
        }
        if all.has(Self::READ) {
            all = all.or(Self::SESSIONS_READ);
        }
        all
    }

    /// Whether who has these may do what needs all of those.
    pub(in crate::gateway) const fn allows(self, needed: Self) -> bool {
        self.implied().has(needed)
    }

    /// What is left of these for whom no more than `limit` is allowed: each scope that is allowed
    /// itself, and of the others what they bring along.
    pub(in crate::gateway) const fn within(self, limit: Self) -> Self {
        let limit = limit.implied();
        let lost = self.without(limit);
        self.and(limit).or(lost.implied().and(limit))
    }

    /// The role that these amount to in the gateway's own checks, for somebody who has the role `own`;
    /// none where they hold neither reading nor more. Pairing and the like have no role: methods ask
    /// for those scopes by name.
    pub(in crate::gateway) fn role(self, own: Role) -> Option<Role> {
        let asked = if self.allows(Self::ADMIN) {
            Role::Owner
        } else if self.allows(Self::WRITE) {
            Role::Operator
        } else if self.allows(Self::READ) {
            Role::Viewer
        } else {
            return None;
        };
        Some(asked.min(own))
    }

    /// The words, always in the same order.
    pub(in crate::gateway) fn words(self) -> impl Iterator<Item = &'static str> {
        WORDS.iter().filter(move |(scope, _)| self.has(*scope)).map(|(_, word)| *word)
    }

    /// Appends a JSON list.
    pub(in crate::gateway) fn write(self, out: &mut String) {
        json::list(out, self.words(), json::string);
    }

    const fn has(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }
}

/// The words with a comma between them, as a device signs them and records keep them.
impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.words().enumerate().try_for_each(|(at, word)| {
            f.write_str(if at > 0 { "," } else { "" })?;
            f.write_str(word)
        })
    }
}

/// Each scope's word. Records have them: they must never change.
const WORDS: [(Scopes, &str); 10] = [
    (Scopes::ADMIN, "operator.admin"),
    (Scopes::READ, "operator.read"),
    (Scopes::WRITE, "operator.write"),
    (Scopes::APPROVALS, "operator.approvals"),
    (Scopes::QUESTIONS, "operator.questions"),
    (Scopes::PAIRING, "operator.pairing"),
    (Scopes::TALK, "operator.talk"),
    (Scopes::TALK_SECRETS, "operator.talk.secrets"),
    (Scopes::SESSIONS_READ, "operator.sessions.read"),
    (Scopes::SESSIONS_WRITE, "operator.sessions.write"),
];

#[cfg(test)]
mod tests {
    use super::*;

    const ROLES: [Role; 4] = [Role::Viewer, Role::Operator, Role::Admin, Role::Owner];

    fn every() -> impl Iterator<Item = Scopes> + Clone {
        (0..=Scopes::ALL.0).map(Scopes)
    }

    #[test]
    fn a_set_is_read_as_it_was_written() {
        for set in every() {
            assert_eq!(Scopes::of(set.words()), (set, Vec::new()));
            let mut out = String::new();
            set.write(&mut out);
            let words: Vec<String> = serde_json::from_str(&out).expect("a list");
            assert_eq!(words.join(","), set.to_string());
        }
        let mut out = String::new();
        Scopes::of(["operator.write", "operator.admin"]).0.write(&mut out);
        assert_eq!(out, r#"["operator.admin","operator.write"]"#);
    }

    #[test]
    fn words_that_are_no_scopes_are_handed_back() {
        let words = ["operator.read", "operator.fly", "", "OPERATOR.READ", "operator.read"];
        let (scopes, unknown) = Scopes::of(words);
        assert_eq!(scopes, Scopes::READ);
        assert_eq!(unknown, ["operator.fly", "", "OPERATOR.READ"]);
    }

    #[test]
    fn admin_brings_all_and_write_what_a_chat_needs() {
        for needed in every() {
            assert!(Scopes::ADMIN.allows(needed));
        }
        for (scope, word) in WORDS {
            let brought = ["operator.write", "operator.read", "operator.talk"].contains(&word)
                || word.starts_with("operator.sessions.");
            assert_eq!(Scopes::WRITE.allows(scope), brought, "{word}");
        }
        assert!(Scopes::READ.allows(Scopes::SESSIONS_READ) && !Scopes::READ.allows(Scopes::TALK));
        assert!(!Scopes::SESSIONS_WRITE.allows(Scopes::WRITE));
        assert!(Scopes::NONE.allows(Scopes::NONE) && !Scopes::NONE.allows(Scopes::READ));
    }

    #[test]
    fn what_is_brought_along_brings_nothing_more_and_grows_with_the_set() {
        for set in every() {
            assert_eq!(set.implied().implied(), set.implied());
            for (scope, _) in WORDS {
                assert!(set.or(scope).allows(set.implied()));
            }
        }
    }

    /// For all sets and all limits: a million cases.
    #[test]
    fn claims_narrow_and_never_widen() {
        for limit in every() {
            for claim in every() {
                let got = claim.within(limit);
                // Never more than is allowed, never more than was asked for, and all that is both.
                let both = claim.implied().and(limit.implied());
                assert_eq!(got.implied(), both, "{claim} within {limit}");
                assert_eq!(got.within(limit), got);
            }
            assert_eq!(limit.within(Scopes::ALL), limit);
        }
    }

    #[test]
    fn a_claim_gives_no_role_above_ones_own() {
        for own in ROLES {
            let limit = Scopes::of_role(own);
            assert_eq!(limit.role(own), Some(own));
            for claim in every() {
                let got = claim.within(limit);
                let role = got.role(own);
                assert!(role.is_none_or(|role| role <= own), "{claim} as {own}");
                assert!(role.is_some() || !got.allows(Scopes::READ));
                for lower in ROLES.into_iter().filter(|lower| *lower <= own) {
                    assert!(claim.within(Scopes::of_role(lower)).role(lower) <= role);
                }
            }
        }
        assert_eq!(Scopes::READ.or(Scopes::PAIRING).role(Role::Owner), Some(Role::Viewer));
        assert_eq!(Scopes::PAIRING.role(Role::Owner), None);
        assert_eq!(Scopes::ADMIN.role(Role::Admin), Some(Role::Admin));
    }

    #[test]
    fn only_admins_pair_and_see_secrets() {
        for (role, may) in [(Role::Viewer, false), (Role::Operator, false), (Role::Admin, true)] {
            for scope in [Scopes::PAIRING, Scopes::TALK_SECRETS, Scopes::ADMIN] {
                assert_eq!(Scopes::of_role(role).allows(scope), may, "{scope} as {role}");
            }
        }
        assert!(Scopes::of_role(Role::Operator).allows(Scopes::APPROVALS.or(Scopes::QUESTIONS)));
        assert!(!Scopes::of_role(Role::Viewer).allows(Scopes::WRITE));
    }
}
