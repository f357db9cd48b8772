//! How plans are shown: numbered, and with times once they are carried out.

use super::output::{FAINT, Screen};
use super::size;
use crate::ops::act::Act;
use state_api::Outcome;
use std::io::{self, Write as _};
use std::time::Duration;

/// The steps of a plan, one a line.
pub(super) fn print(acts: &[Act], out: &mut Screen<'_>) -> io::Result<()> {
    let digits = acts.len().to_string().len();
    for (n, act) in acts.iter().enumerate() {
        write!(
            out,
            "  {:>digits$}. {}",
            n + 1,
            super::exit::one_line(&act.text)
        )?;
        match (act.outcome, act.took_us) {
            (Some(Outcome::AlreadySo), _) => write!(out, " {FAINT}(already so){FAINT:#}")?,
            (Some(Outcome::Made), Some(us)) => {
                let took = size::duration(Duration::from_micros(us));
                write!(out, " {FAINT}({took}){FAINT:#}")?;
            }
            _ => {}
        }
        writeln!(out)?;
    }
    Ok(())
}
