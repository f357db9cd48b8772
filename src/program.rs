//! The one place that names and runs external programs.
