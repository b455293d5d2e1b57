"""The command line: each command a few lines over a room below."""
