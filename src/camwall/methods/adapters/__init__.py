"""Methods of other packages, each in a file of its own that is imported when used."""
