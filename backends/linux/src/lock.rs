//! Open-file-description locks: they die with the process, so none is ever stale.
