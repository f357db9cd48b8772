//! The reference of every key, made of the types.
