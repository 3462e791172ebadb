"""Speed of the engine and the service against what else could be used, as ratios within one run on one machine."""
