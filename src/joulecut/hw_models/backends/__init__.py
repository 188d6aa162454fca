"""Other models' figures in joulecut's records: one optional package a file, imported when it is asked."""
