"""What a command or a run notebook does in one call, and the command line."""
