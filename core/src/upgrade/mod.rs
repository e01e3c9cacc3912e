//! The opening handshake (RFC 6455 section 4) on top of HTTP/1.1 (RFC 9112).

mod accept_key;
#[cfg_attr(not(feature = "deflate"), path = "no_agreement.rs")]
mod agreement;
mod answer;
mod body;
mod client;
#[cfg(feature = "deflate")]
mod extensions;
#[cfg(feature = "deflate")]
pub(crate) use extensions::Agreed;
pub(crate) mod head;
mod proxy;
mod request;
mod response;
mod url;

pub(crate) use accept_key::{accept_key, is_key};
pub(crate) use agreement::{Agreement, extension_offer};
pub use answer::{Accept, Response};
pub(crate) use answer::{Begun, Left, Offer, write_body_timeout, write_error, write_timeout};
pub use body::BodyLength;
pub(crate) use body::{BodyReader, Found};
pub use client::ClientRequest;
pub(crate) use client::Expected;
pub use proxy::{Proxy, ProxyError, is_without_proxy};
pub(crate) use request::Checked;
pub use request::{Headers, RequestHead};
pub use response::ResponseHead;
pub(crate) use response::{Verdict, judge};
pub use url::{Url, UrlError, split_authority};
