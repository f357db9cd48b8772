//! Surveys and the plans made from them: every state a machine can be found in.
#![forbid(unsafe_code)]

mod blank;
mod children;
mod delete;
mod refusals;
mod reset;
mod scene;
