"""The sources of a map's points, one file each: a function from the source's spec and a pass to points in its layers."""
