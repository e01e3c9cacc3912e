//! What every adapter promises, over real sockets: one list of cases that the tests of each runtime
//! include, so that none of them can promise less than another. What only one runtime has is tested in
//! its own package.
//!
//! The package names its runtime `support::Subject` and says in `impl Runtime` how to serve and how to
//! connect.

mod deadlines;
mod deflate;
mod ending;
mod handshake;
mod load;
mod messages;
mod under_test;
