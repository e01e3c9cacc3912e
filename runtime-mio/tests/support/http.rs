//! One request over HTTP, and all that is answered.

use super::PATIENCE;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

/// Sends bytes; gives what is answered up to the end of the connection, however that comes.
pub fn exchange(address: SocketAddr, request: impl AsRef<[u8]>) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // Who is refused in the midst of it may find the socket closed, or be cut off.
    let _ = stream.write_all(request.as_ref());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// The answer to a GET with these headers.
pub fn get(address: SocketAddr, target: &str, headers: &str) -> String {
    exchange(address, format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n"))
}
