-- Who may use the API, and what they did there. Bodies are JSON; times Unix milliseconds.
CREATE TABLE access (
	kind TEXT NOT NULL,
	name TEXT NOT NULL,
	body TEXT NOT NULL,
	PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
	id   INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, -- never given twice
	at   INTEGER NOT NULL,
	body TEXT    NOT NULL
) STRICT;
CREATE INDEX audit_at ON audit (at);
