//! The persist tree: its entries, and the plan that puts them in place.
