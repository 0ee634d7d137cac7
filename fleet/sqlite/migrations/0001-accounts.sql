-- Times are Unix milliseconds; 0 = none.
CREATE TABLE batches (
	last INTEGER NOT NULL -- the revision of the last batch; one row
) STRICT;
INSERT INTO batches VALUES (0);

CREATE TABLE users (
	name      TEXT    NOT NULL PRIMARY KEY,
	kind      TEXT    NOT NULL,
	password  TEXT    NOT NULL, -- a PHC string; '' = none
	keys      TEXT    NOT NULL, -- JSON, of SCRAM; '' = none
	client_id TEXT    NOT NULL,
	disabled  INTEGER NOT NULL,
	expires   INTEGER NOT NULL,
	note      TEXT    NOT NULL,
	revision  INTEGER NOT NULL,
	created   INTEGER NOT NULL,
	changed   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE groups (
	name     TEXT    NOT NULL PRIMARY KEY,
	note     TEXT    NOT NULL,
	revision INTEGER NOT NULL,
	created  INTEGER NOT NULL,
	changed  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE members (
	user     TEXT    NOT NULL REFERENCES users (name) ON DELETE CASCADE,
	"group"  TEXT    NOT NULL REFERENCES groups (name) DEFERRABLE INITIALLY DEFERRED,
	position INTEGER NOT NULL, -- among the user's groups
	PRIMARY KEY (user, "group")
) STRICT, WITHOUT ROWID;
CREATE INDEX members_of ON members ("group", user);

CREATE TABLE rules (
	id       TEXT    NOT NULL PRIMARY KEY,
	body     TEXT    NOT NULL, -- JSON, in the words of the configuration file
	revision INTEGER NOT NULL,
	created  INTEGER NOT NULL,
	changed  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE bans (
	id         TEXT    NOT NULL PRIMARY KEY,
	subject    TEXT    NOT NULL,
	value      TEXT    NOT NULL,
	quarantine INTEGER NOT NULL,
	reason     TEXT    NOT NULL,
	until      INTEGER NOT NULL,
	by         TEXT    NOT NULL,
	revision   INTEGER NOT NULL,
	created    INTEGER NOT NULL,
	changed    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
