CREATE TABLE sessions (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    agent TEXT NOT NULL,
    label TEXT,
    messages INTEGER NOT NULL DEFAULT 0,
    next_message INTEGER NOT NULL DEFAULT 1,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    used INTEGER NOT NULL
) STRICT;
CREATE INDEX sessions_by_use ON sessions (used);
CREATE INDEX sessions_by_owner ON sessions (owner, used);

CREATE TABLE messages (
    session INTEGER NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    id INTEGER NOT NULL,
    author TEXT NOT NULL CHECK (author IN ('user', 'assistant')),
    text TEXT NOT NULL,
    label TEXT,
    at INTEGER NOT NULL,
    UNIQUE (session, id)
) STRICT;

-- A user's key, the message it stands for, and how the run that answers it ended.
CREATE TABLE idempotency (
    user TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    session INTEGER NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    message INTEGER NOT NULL,
    run TEXT NOT NULL,
    expires INTEGER NOT NULL,
    ending TEXT CHECK (ending IN ('completed', 'failed', 'timeout', 'cancelled')),
    answer TEXT,
    answer_message INTEGER,
    prompt_tokens INTEGER,
    completion_tokens INTEGER,
    UNIQUE (user, key)
) STRICT;
CREATE INDEX idempotency_by_expiry ON idempotency (expires);
CREATE INDEX idempotency_by_user ON idempotency (user, expires);
CREATE INDEX idempotency_by_session ON idempotency (session);

CREATE TABLE records (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    expires INTEGER,
    PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX records_by_expiry ON records (expires) WHERE expires IS NOT NULL;

INSERT INTO sessions VALUES (1, 'agent:echo:ws:direct:old', 'ann', 'echo', NULL, 2, 3, 1000, 2000, 1);
INSERT INTO messages VALUES (1, 1, 'user', 'hello', NULL, 1000), (1, 2, 'assistant', 'hello', NULL, 2000);
PRAGMA user_version = 1;
PRAGMA application_id = 0x4D524C4E;
