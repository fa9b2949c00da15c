"""Places where programs of several ages look for what is elsewhere here: `queue`, `multiprocessing`, `internal_kv`."""
