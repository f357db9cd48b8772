//! A shim; everything is in the library.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    state::cli::state_main()
}
