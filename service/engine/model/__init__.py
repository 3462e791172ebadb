"""One hosted model: loading, its modules and sites, hooks, start-up checks, and faster layers for frozen weights."""
