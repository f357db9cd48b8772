//! Telling how far it is while root is filled, which takes as long as it takes: somebody looks at
//! the console of a machine that does not boot, and nothing limits the time.

use crate::progress::{Progress, Total, Unit};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// How often it is told.
pub(super) const EVERY: Duration = Duration::from_secs(10);

/// Does `work`, and tells `every` so often how much more the filesystem at `at` holds since.
pub(super) fn while_filling<T>(
    at: &Path,
    every: Duration,
    progress: &dyn Progress,
    work: impl FnOnce() -> T,
) -> T {
    let (working, is_over) = channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            progress.begin("filling root from blank", Unit::Bytes, Total::Unknown);
            let mut told = used_bytes(at);
            // Ends when `working` is dropped.
            while is_over.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                let used = used_bytes(at).max(told);
                progress.advance(used - told);
                told = used;
            }
            progress.end();
        });
        let done = work();
        drop(working);
        done
    })
}

/// What the filesystem at `at` holds; nothing where that cannot be told.
fn used_bytes(at: &Path) -> u64 {
    rustix::fs::statvfs(at).map_or(0, |told| {
        let blocks = told.f_blocks.saturating_sub(told.f_bfree);
        blocks.saturating_mul(told.f_frsize)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);

    impl Progress for Heard {
        fn begin(&self, doing: &str, _unit: Unit, _total: Total) {
            self.0.lock().unwrap().push(doing.to_owned());
        }

        fn advance(&self, _by: u64) {
            self.0.lock().unwrap().push("so far".into());
        }

        fn end(&self) {
            self.0.lock().unwrap().push("end".into());
        }
    }

    #[test]
    fn it_is_told_until_the_work_is_done() {
        let heard = Heard::default();
        let often = Duration::from_millis(1);
        let done = while_filling(Path::new("/"), often, &heard, || {
            while heard.0.lock().unwrap().len() < 3 {
                thread::sleep(often);
            }
            7
        });
        let heard = heard.0.into_inner().unwrap();
        assert_eq!(
            (done, &*heard[0], &*heard[1]),
            (7, "filling root from blank", "so far")
        );
        assert_eq!(heard.iter().filter(|told| *told == "end").count(), 1);
        assert_eq!(heard.last().unwrap(), "end");
    }
}
