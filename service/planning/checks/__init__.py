"""Checks that several kinds of run share."""
