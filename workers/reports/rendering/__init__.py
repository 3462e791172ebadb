"""A report as HTML with SVG figures."""
