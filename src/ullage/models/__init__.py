"""Model cards; finding, fetching and verifying model files; tokenizing."""
