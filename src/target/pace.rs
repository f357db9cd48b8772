//! A target that is sent no more than so many bytes in a second.

use super::{Object, Target, Upload};
use crate::archive::Result;
use crate::archive::read::Source;
use crate::settings::Rate;
use state_api::Outcome;
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// A target with a limit on what is sent to it.
pub(super) struct Paced {
    inner: Box<dyn Target>,
    rate: Rate,
}

impl Paced {
    pub(super) fn new(inner: Box<dyn Target>, rate: Rate) -> Self {
        Self { inner, rate }
    }
}

impl Target for Paced {
    fn url(&self) -> &str {
        self.inner.url()
    }

    fn list(&self, prefix: &str) -> Result<Vec<Object>> {
        self.inner.list(prefix)
    }

    fn put(&self, name: &str) -> Result<Box<dyn Upload + '_>> {
        Ok(Box::new(PacedUpload {
            inner: self.inner.put(name)?,
            rate: self.rate,
            begun: Instant::now(),
            sent: 0,
        }))
    }

    fn get(&self, name: &str) -> Result<Box<dyn Source + '_>> {
        self.inner.get(name)
    }

    fn get_listed(&self, object: &Object) -> Result<Box<dyn Source + '_>> {
        self.inner.get_listed(object)
    }

    fn delete(&self, name: &str) -> Result<Outcome> {
        self.inner.delete(name)
    }

    fn sweep(&self, prefix: &str) -> Result<u64> {
        self.inner.sweep(prefix)
    }
}

struct PacedUpload<'t> {
    inner: Box<dyn Upload + 't>,
    rate: Rate,
    /// When `sent` was 0, as far as the rate is concerned.
    begun: Instant,
    sent: u64,
}

/// When `sent` bytes may have been sent at the earliest, after the first.
fn due(sent: u64, rate: Rate) -> Duration {
    Duration::from_secs_f64(sent as f64 / rate.0 as f64)
}

/// How much is sent between two looks at the clock, so that the line is never busy for long.
fn slice(rate: Rate) -> usize {
    (rate.0 / 20).clamp(1, 1 << 20) as usize
}

impl Write for PacedUpload<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let now = bytes.len().min(slice(self.rate));
        let (due, passed) = (due(self.sent, self.rate), self.begun.elapsed());
        match due.checked_sub(passed) {
            Some(early) => std::thread::sleep(early),
            // Time in which there was nothing to send is not made up for.
            None if passed - due > Duration::from_secs(1) => {
                (self.begun, self.sent) = (Instant::now(), 0);
            }
            None => {}
        }
        let sent = self.inner.write(&bytes[..now])?;
        self.sent += sent as u64;
        Ok(sent)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl Upload for PacedUpload<'_> {
    fn finish(self: Box<Self>) -> Result<()> {
        self.inner.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::FileTarget;
    use super::*;

    #[test]
    fn no_more_is_sent_than_the_rate_allows() {
        let dir = tempfile::tempdir().unwrap();
        let file = FileTarget::open("file:///", dir.path().to_owned()).unwrap();
        let target = Paced::new(Box::new(file), Rate(1 << 20));
        let begun = Instant::now();
        let mut upload = target.put("m/a").unwrap();
        upload.write_all(&[7; 600 << 10]).unwrap();
        upload.finish().unwrap();
        let took = begun.elapsed().as_secs_f64();
        assert!(took > 0.5, "{took}");
        assert_eq!(target.get("m/a").unwrap().length(), 600 << 10);
    }
}
