"""Measures of vectors that the service and its workers share: pure functions over arrays, without torch."""
