"""The commands, one module for each group or verb."""
