"""A job sent to a cluster through Ray's Jobs API: what travels, what is checked here and there, how it is followed."""
