//! Progress of long work: a bar on a terminal, a line every few seconds in a log, nothing with
//! `--json`, `-q` or `--no-progress`.

use super::Globals;
use super::exit::one_line;
use super::output::terminal_width;
use super::size::size;
use super::table::shorten;
use crate::progress::{Progress, Silent, Total, Unit};
use std::io::{self, IsTerminal as _, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How far a stage is; what is shown is a pure function of this.
#[derive(Debug, Clone)]
struct Stage {
    doing: String,
    unit: Unit,
    total: Total,
    done: u64,
    entries: u64,
    /// What is at work.
    path: Vec<u8>,
}

impl Stage {
    fn amount(&self, n: u64) -> String {
        match self.unit {
            Unit::Bytes => size(n),
            Unit::Items => n.to_string(),
        }
    }

    /// How much there is, as long as that can be believed, and what is said before it.
    fn total(&self) -> Option<(u64, &'static str)> {
        match self.total {
            Total::Is(total) if total > 0 => Some((total, "")),
            Total::About(total) if total > self.done => Some((total, "about ")),
            _ => None,
        }
    }

    /// `1.2 GiB of 2.3 GiB, 53 %, 4711 entries, 120 MiB/s, 0:09 left`
    fn figures(&self, elapsed: Duration) -> String {
        let mut text = self.amount(self.done);
        let rate = match u64::try_from(elapsed.as_millis()) {
            Ok(ms) if ms >= 500 => u128::from(self.done) * 1000 / u128::from(ms),
            _ => 0,
        };
        let total = self.total();
        if let Some((total, about)) = total {
            let percent = u128::from(self.done) * 100 / u128::from(total);
            let total = self.amount(total);
            text += &format!(" of {about}{total}, {} %", percent.min(100));
        }
        if self.entries > 0 {
            text += &match self.entries {
                1 => ", 1 entry".to_owned(),
                entries => format!(", {entries} entries"),
            };
        }
        if let Some(rate) = u64::try_from(rate).ok().filter(|&rate| rate > 0) {
            text += &format!(", {}/s", self.amount(rate));
            if let Some((total, about)) = total.filter(|(total, _)| *total >= self.done) {
                let s = (total - self.done) / rate;
                text += &match s {
                    0..3600 => format!(", {about}{}:{:02} left", s / 60, s % 60),
                    _ => format!(
                        ", {about}{}:{:02}:{:02} left",
                        s / 3600,
                        s / 60 % 60,
                        s % 60
                    ),
                };
            }
        }
        text
    }

    /// A bar of `width` columns.
    fn bar(&self, width: usize) -> Option<String> {
        let (total, _) = self.total()?;
        let eighths = u128::from(self.done.min(total)) * (width as u128 * 8) / u128::from(total);
        let eighths = usize::try_from(eighths).ok()?;
        let mut bar = "█".repeat(eighths / 8);
        bar.extend(
            ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"]
                .get(eighths % 8)
                .copied(),
        );
        let used = bar.chars().count();
        bar.extend(std::iter::repeat_n('░', width - used));
        Some(bar)
    }

    /// What is at work, if it takes long: a small file is gone before it is read.
    fn slow(&self, at_it: Duration) -> String {
        match at_it < SLOW || self.path.is_empty() {
            true => String::new(),
            false => format!(", at {}", one_line(&String::from_utf8_lossy(&self.path))),
        }
    }

    fn line(&self, elapsed: Duration, at_it: Duration, width: usize) -> String {
        let mut text = format!("{}  {}", self.doing, self.figures(elapsed));
        if let Some(bar) = self.bar(16).filter(|_| width >= 72) {
            text = format!("{bar}  {text}");
        }
        text += &self.slow(at_it);
        shorten(&text, width.saturating_sub(1))
    }
}

#[derive(Debug)]
struct Running {
    stage: Stage,
    begun: Instant,
    shown: Instant,
    /// Since when its path is at work.
    since: Instant,
}

/// Tells a person on standard error.
#[derive(Debug)]
struct Teller {
    /// The terminal's columns; `None`: a log.
    width: Option<usize>,
    running: Mutex<Option<Running>>,
}

/// How long a path is at work before it is named.
const SLOW: Duration = Duration::from_secs(2);
const ON_TERMINAL: Duration = Duration::from_millis(100);
const IN_LOG: Duration = Duration::from_secs(5);

impl Teller {
    /// Progress is decoration: a terminal that cannot be written is not worth failing for.
    fn write(text: &str) {
        let mut stderr = io::stderr().lock();
        drop(
            stderr
                .write_all(text.as_bytes())
                .and_then(|()| stderr.flush()),
        );
    }

    fn show(&self, running: &mut Running) {
        let every = self.width.map_or(IN_LOG, |_| ON_TERMINAL);
        if running.shown.elapsed() < every {
            return;
        }
        running.shown = Instant::now();
        let (elapsed, at_it) = (running.begun.elapsed(), running.since.elapsed());
        match self.width {
            Some(width) => {
                let line = running.stage.line(elapsed, at_it, width);
                Self::write(&format!("\r\x1b[K{line}"));
            }
            None => {
                let (figures, slow) = (running.stage.figures(elapsed), running.stage.slow(at_it));
                Self::write(&format!("{}: {figures}{slow}\n", running.stage.doing));
            }
        }
    }

    fn with(&self, f: impl FnOnce(&mut Option<Running>)) {
        f(&mut self.running.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Progress for Teller {
    fn begin(&self, doing: &str, unit: Unit, total: Total) {
        let now = Instant::now();
        self.with(|running| {
            *running = Some(Running {
                stage: Stage {
                    doing: one_line(doing),
                    unit,
                    total,
                    done: 0,
                    entries: 0,
                    path: Vec::new(),
                },
                begun: now,
                shown: now,
                since: now,
            });
        });
    }

    fn expect(&self, total: Total) {
        self.with(|running| {
            if let Some(running) = running {
                running.stage.total = total;
            }
        });
    }

    fn advance(&self, by: u64) {
        self.with(|running| {
            let Some(running) = running else { return };
            running.stage.done += by;
            self.show(running);
        });
    }

    fn see(&self, entries: u64, path: &[u8]) {
        self.with(|running| {
            let Some(running) = running else { return };
            running.stage.entries = entries;
            if running.stage.path != path {
                path.clone_into(&mut running.stage.path);
                running.since = Instant::now();
            }
            self.show(running);
        });
    }

    fn end(&self) {
        self.with(|running| {
            if running.take().is_some() && self.width.is_some() {
                Self::write("\r\x1b[K");
            }
        });
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.end();
    }
}

impl Globals {
    /// Whom long work tells how far it is.
    pub fn progress(&self) -> Box<dyn Progress> {
        if self.json || self.quiet || self.no_progress {
            return Box::new(Silent);
        }
        let stderr = io::stderr();
        let width = || terminal_width(&stderr).unwrap_or(80);
        Box::new(Teller {
            width: stderr.is_terminal().then(width),
            running: Mutex::new(None),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(done: u64, total: Total) -> Stage {
        Stage {
            doing: "archiving /persist".into(),
            unit: Unit::Bytes,
            total,
            done,
            entries: 0,
            path: b"home/ann/disk.img".to_vec(),
        }
    }

    #[test]
    fn figures_say_rate_and_time_left_as_far_as_they_are_known() {
        let s = Duration::from_secs;
        for (stage, elapsed, text) in [
            (stage(0, Total::Unknown), s(0), "0 B"),
            (stage(0, Total::Is(0)), s(1), "0 B"),
            (stage(3 << 20, Total::Unknown), s(1), "3.0 MiB, 3.0 MiB/s"),
            (
                stage(1 << 30, Total::Is(4 << 30)),
                s(10),
                "1.0 GiB of 4.0 GiB, 25 %, 102 MiB/s, 0:30 left",
            ),
            (
                stage(1 << 20, Total::Is(1 << 40)),
                s(1),
                "1.0 MiB of 1.0 TiB, 0 %, 1.0 MiB/s, 291:16:15 left",
            ),
            (stage(9, Total::Is(8)), s(0), "9 B of 8 B, 100 %"),
            (
                stage(1 << 30, Total::About(4 << 30)),
                s(10),
                "1.0 GiB of about 4.0 GiB, 25 %, 102 MiB/s, about 0:30 left",
            ),
            // It was more than that: nobody knows how much more.
            (stage(8, Total::About(8)), s(1), "8 B, 8 B/s"),
            (stage(9, Total::About(8)), s(1), "9 B, 9 B/s"),
            (stage(0, Total::About(0)), s(1), "0 B"),
        ] {
            assert_eq!(stage.figures(elapsed), text);
        }
    }

    #[test]
    fn the_whole_line_with_entries_and_a_slow_path() {
        let mut stage = stage(1 << 30, Total::Is(4 << 30));
        stage.entries = 4711;
        let s = Duration::from_secs;
        for (at_it, line) in [
            (
                s(0),
                "████░░░░░░░░░░░░  archiving /persist  1.0 GiB of 4.0 GiB, 25 %, 4711 entries, \
                 102 MiB/s, 0:30 left",
            ),
            (
                s(2),
                "████░░░░░░░░░░░░  archiving /persist  1.0 GiB of 4.0 GiB, 25 %, 4711 entries, \
                 102 MiB/s, 0:30 left, at home/ann/disk.img",
            ),
        ] {
            assert_eq!(stage.line(s(10), at_it, 200), line);
        }
        stage.entries = 1;
        assert_eq!(stage.figures(s(0)), "1.0 GiB of 4.0 GiB, 25 %, 1 entry");
        stage.path = b"a\nb\xff".to_vec();
        assert_eq!(
            stage.slow(s(3)),
            format!(", at {}", one_line("a\nb\u{fffd}"))
        );
    }

    #[test]
    fn the_line_fits_and_the_bar_grows() {
        let half = stage(1 << 30, Total::Is(2 << 30));
        assert_eq!(half.bar(8).as_deref(), Some("████░░░░"));
        assert_eq!(stage(1, Total::Is(16)).bar(8).as_deref(), Some("▌░░░░░░░"));
        assert_eq!(stage(2, Total::Is(1)).bar(2).as_deref(), Some("██"));
        assert_eq!(stage(1, Total::Unknown).bar(8), None);
        for width in [20, 72, 200] {
            let line = half.line(Duration::from_secs(9), SLOW, width);
            assert!(line.chars().count() < width, "{line:?}");
        }
    }
}
