//! The command line: the only module that prints, prompts and exits.
