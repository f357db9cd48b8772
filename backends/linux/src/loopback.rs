//! Loop devices, for `state demo` and the tests.
