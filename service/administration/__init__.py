"""Administration of a store: retention, garbage collection, checks, backups. No torch, no HTTP, no Redis."""
