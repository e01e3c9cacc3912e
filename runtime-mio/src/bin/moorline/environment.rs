//! Variables of the process. One that is set to nothing counts as not set, whoever reads it: service
//! managers and shells can often do no more to take a variable away.

use crate::failure::Failure;
use std::collections::BTreeMap;
use std::ffi::OsString;

/// What a variable holds.
pub(crate) fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The same for what must be text.
///
/// # Errors
/// It is no UTF-8.
pub(crate) fn text(name: &str) -> Result<Option<String>, Failure> {
    let text = variable(name).map(OsString::into_string).transpose();
    text.map_err(|_| Failure::Config(format!("the variable {name} is not text")))
}

/// Many variables by their names. It has no `Debug`: there are tokens among them.
#[derive(Default)]
pub(crate) struct Variables(BTreeMap<String, String>);

impl Variables {
    /// Those of the process whose names begin like this.
    pub(crate) fn of_process(prefix: &str) -> Self {
        let all = std::env::vars_os().filter_map(|(name, value)| {
            let name = name.into_string().ok().filter(|name| name.starts_with(prefix))?;
            Some((name, value.to_string_lossy().into_owned()))
        });
        all.collect()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl FromIterator<(String, String)> for Variables {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(all: I) -> Self {
        Self(all.into_iter().filter(|(_, value)| !value.is_empty()).collect())
    }
}
