//! The boot record: what the last reset did, so that "never erased" does not go unnoticed.
