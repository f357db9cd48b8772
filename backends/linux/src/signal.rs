//! SIGINT and SIGTERM as a flag that is asked between steps.
