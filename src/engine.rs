//! The one place that names every engine.
