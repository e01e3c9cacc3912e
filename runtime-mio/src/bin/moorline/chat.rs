//! `moorline chat`: a terminal client on the same core.

mod conversation;
mod retry;

use crate::cli::ChatArgs;
use crate::dial::Dialer;
use crate::failure::Failure;
use crate::{credentials, dial};
use conversation::{Conversation, Login, Outcome};
use moorline_mio::Client;
use std::io::BufRead as _;
use std::sync::mpsc;
use std::thread;

pub(crate) fn run(args: ChatArgs) -> Result<(), Failure> {
    let url = dial::url(&args.credentials.url(args.url.as_deref()))?;
    let addresses = dial::addresses(&url)?;
    let dialer = Dialer::new(url, &args.trust)?;
    let credentials = args.credentials.read()?;
    let login = Login { credentials, user: credentials::user(args.user.as_deref())? };
    let client = Client::new()?;
    let handle = client.handle();
    let (lines, typed) = mpsc::channel();
    // A blocked read of the terminal cannot be interrupted: the thread ends with the process.
    thread::Builder::new().name("terminal".into()).spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                return;
            }
            handle.wake();
        }
        drop(lines);
        handle.wake();
    })?;
    let mut conversation =
        Conversation::new(args, dialer, addresses, login, typed, client.handle());
    client.run(&mut conversation)?;
    match conversation.outcome() {
        Outcome::Ended => Ok(()),
        Outcome::Failed(why) => Err(Failure::Runtime(why)),
    }
}
