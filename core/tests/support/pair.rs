//! Both ends of a connection on one virtual clock, joined by a wire that carries as much as it is
//! told to.

use super::*;

pub struct Pair {
    pub client: Subject,
    pub server: Subject,
}

impl Pair {
    /// A pair before its handshake; both applications are given.
    pub fn new(limits: &Limits, client_app: App, server_app: App) -> Self {
        let client = Subject::client(limits.clone(), client_app);
        let mut server = Subject::server(limits.clone(), server_app);
        server.now = client.now;
        server.start = client.start;
        server.connection = Connection::server(Arc::new(limits.clone()), client.now);
        Self { client, server }
    }

    /// A pair whose handshake is done, with nothing recorded.
    pub fn open(limits: &Limits, client_app: App, server_app: App) -> Self {
        let mut pair = Self::new(limits, client_app, server_app);
        pair.settle();
        assert_eq!(pair.client.take_events(), [Recorded::Open]);
        assert_eq!(pair.server.take_events().last(), Some(&Recorded::Open));
        pair
    }

    pub fn side(&mut self, role: Role) -> &mut Subject {
        match role {
            Role::Client => &mut self.client,
            Role::Server => &mut self.server,
        }
    }

    pub fn advance(&mut self, time: Duration) {
        self.client.advance(time);
        self.server.advance(time);
    }

    /// The wire takes at most `most` bytes of one end and hands them to the other in `split` pieces;
    /// says how many.
    pub fn carry(&mut self, from: Role, most: usize, split: Split) -> usize {
        let (from, to) = match from {
            Role::Client => (&mut self.client, &mut self.server),
            Role::Server => (&mut self.server, &mut self.client),
        };
        let moved = from.write(most);
        let bytes = std::mem::take(&mut from.output);
        to.feed_split(&bytes, split);
        moved
    }

    /// Carries until both ends have nothing more to say.
    pub fn settle(&mut self) {
        while self.carry(Role::Client, usize::MAX, Split::Whole)
            + self.carry(Role::Server, usize::MAX, Split::Whole)
            > 0
        {}
    }

    /// Wakes whichever end is due first, at its time; says which and why.
    pub fn pass_deadline(&mut self) -> (Role, Why) {
        let client = self.client.connection.deadline();
        let server = self.server.connection.deadline();
        let role = match (client, server) {
            (Some((client, _)), Some((server, _))) if client <= server => Role::Client,
            (Some(_), None) => Role::Client,
            _ => Role::Server,
        };
        let why = self.side(role).pass_deadline();
        let now = self.client.now.max(self.server.now);
        self.client.now = now;
        self.server.now = now;
        (role, why)
    }
}
