//! Finding, reading and checking `state.toml`; its errors name file, line and column.
