"""Model services, one folder each. None knows another."""
