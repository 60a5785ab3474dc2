-- Live state of the conference plane: what a restarted process goes on from.
CREATE TABLE live_state (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- Keys that tokens are signed with, where the configuration names none.
CREATE TABLE signing_keys (
    kid     TEXT PRIMARY KEY,
    secret  BLOB NOT NULL,
    made_at INTEGER NOT NULL
) WITHOUT ROWID;
