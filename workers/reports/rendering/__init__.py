"""Rendering of a report: SVG figures and an HTML page."""
