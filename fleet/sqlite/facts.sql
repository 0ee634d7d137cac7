-- The facts. An id is when, in microseconds since 1970, or the next one that is free. NULL = does not apply.
CREATE TABLE kinds (
	id   INTEGER PRIMARY KEY,
	name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE state (
	late INTEGER NOT NULL, -- how many microseconds an id was above its fact's time, at most
	last INTEGER NOT NULL  -- the highest id that was trimmed
) STRICT;
INSERT INTO state VALUES (0, 0);

CREATE TABLE facts (
	id       INTEGER PRIMARY KEY,
	at       INTEGER, -- NULL = as the id says
	kind     INTEGER NOT NULL,
	client   TEXT,
	user     TEXT,
	address  TEXT,
	listener TEXT,
	topic    TEXT, -- where it is not its key
	key      TEXT, -- fact.Key of the topic
	reason   TEXT,
	code     INTEGER,
	count    INTEGER,
	text     TEXT,
	detail   TEXT -- JSON
) STRICT;
CREATE INDEX facts_kind ON facts (kind);
CREATE INDEX facts_client ON facts (client) WHERE client IS NOT NULL;
CREATE INDEX facts_key ON facts (key) WHERE key IS NOT NULL;
