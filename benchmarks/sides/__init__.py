"""The ways of doing the work: our engine, our service, and what they are measured against."""
