"""Contests of captures and harvests of states."""
