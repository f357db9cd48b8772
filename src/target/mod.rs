//! Where archives are published.
