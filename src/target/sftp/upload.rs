//! An object on its way to an ssh server.

use super::packet::{OK, Reply, Request};
use super::{PIECE, SftpTarget, WINDOW};
use crate::archive::Result;
use crate::target::Upload;
use std::collections::VecDeque;
use std::io::{self, Write};

/// An object being written, under a hidden name.
pub(super) struct SftpUpload<'t> {
    target: &'t SftpTarget,
    name: String,
    /// The hidden name, as long as it is there.
    partial: Option<String>,
    handle: Option<Vec<u8>>,
    at: u64,
    under_way: VecDeque<u32>,
}

impl<'t> SftpUpload<'t> {
    /// `handle` is of the file that was just made under the name `partial`.
    pub(super) fn begin(
        target: &'t SftpTarget,
        name: &str,
        partial: String,
        handle: Vec<u8>,
    ) -> Self {
        Self {
            target,
            name: name.to_owned(),
            partial: Some(partial),
            handle: Some(handle),
            at: 0,
            under_way: VecDeque::new(),
        }
    }

    /// Waits until at most `left` writes are under way.
    fn settle(&mut self, left: usize) -> Result<()> {
        while self.under_way.len() > left {
            let id = self.under_way.pop_front().expect("there is one");
            let reply = self.target.session().answer(id)?;
            if !matches!(reply, Reply::Status(OK, _)) {
                return Err(self
                    .target
                    .write_failure(&format!("writing {}", self.name), &reply));
            }
        }
        Ok(())
    }

    fn send(&mut self, piece: &[u8]) -> Result<()> {
        self.settle(WINDOW - 1)?;
        let handle = self
            .handle
            .as_ref()
            .expect("it is open until it is finished");
        let request = Request::new(Request::WRITE)
            .string(handle)
            .long(self.at)
            .string(piece);
        let id = self.target.session().ask(request)?;
        self.under_way.push_back(id);
        self.at += piece.len() as u64;
        Ok(())
    }

    fn publish(&mut self) -> Result<()> {
        self.settle(0)?;
        let doing = format!("publishing {}", self.name);
        let handle = self.handle.take().expect("it is open until it is finished");
        let mut session = self.target.session();
        if session.has("fsync@openssh.com") {
            let sync = Request::new(Request::EXTENDED)
                .string("fsync@openssh.com")
                .string(&handle);
            session.status(&format!("syncing {}", self.name), sync)?;
        }
        session.status(&doing, Request::new(Request::CLOSE).string(&handle))?;
        let partial = self
            .partial
            .as_ref()
            .expect("it is there until it is finished");
        let rename = Request::new(Request::RENAME)
            .string(self.target.path(partial))
            .string(self.target.path(&self.name));
        session.status(&doing, rename)?;
        self.partial = None;
        Ok(())
    }
}

impl Write for SftpUpload<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = &bytes[..bytes.len().min(PIECE)];
        self.send(piece).map_err(io::Error::other)?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Upload for SftpUpload<'_> {
    fn finish(mut self: Box<Self>) -> Result<()> {
        self.publish()
    }
}

impl Drop for SftpUpload<'_> {
    fn drop(&mut self) {
        // If it cannot be removed, the next run sweeps it.
        if let Some(handle) = self.handle.take() {
            let close = Request::new(Request::CLOSE).string(&handle);
            self.target.session().ask(close).map(drop).unwrap_or(());
        }
        if let Some(partial) = self.partial.take() {
            self.target.remove(&partial).map(drop).unwrap_or(());
        }
    }
}
