"""One file per revision. A published revision is never edited: a database out there has run it."""
