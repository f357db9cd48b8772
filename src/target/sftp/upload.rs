//! An object on its way to an ssh server.

use super::packet::{OK, Reply, Request};
use super::session::Session;
use super::{PAUSES, PIECE, SftpTarget, WINDOW};
use crate::archive::{Error, Result};
use crate::target::Upload;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::MutexGuard;
use std::time::Duration;

/// To write what is there.
const WRITE: u32 = 2;

/// A part of an object on its way.
struct Piece {
    /// The number of its request.
    id: u32,
    at: u64,
    bytes: Vec<u8>,
}

/// An object being written, under a hidden name.
pub(super) struct SftpUpload<'t> {
    target: &'t SftpTarget,
    name: String,
    /// The hidden name, as long as it is there.
    partial: Option<String>,
    handle: Option<Vec<u8>>,
    /// The connection that the handle is of.
    turn: u64,
    at: u64,
    /// What was sent and is not known to have arrived, in order.
    under_way: VecDeque<Piece>,
}

impl<'t> SftpUpload<'t> {
    /// `handle` is of the file that was just made under the name `partial`, in the connection of
    /// that turn.
    pub(super) fn begin(
        target: &'t SftpTarget,
        name: &str,
        partial: String,
        (turn, handle): (u64, Vec<u8>),
    ) -> Self {
        Self {
            target,
            name: name.to_owned(),
            partial: Some(partial),
            handle: Some(handle),
            turn,
            at: 0,
            under_way: VecDeque::new(),
        }
    }

    /// The connection, unless whoever reads through it has made another one: there the handle is
    /// that of another file, and the numbers of requests are other requests'.
    fn session(&self) -> Result<MutexGuard<'t, Session>> {
        let session = self.target.session();
        match session.turn == self.turn {
            true => Ok(session),
            false => {
                let cure = "run the command again";
                Err(self.target.refused("the connection broke off", cure))
            }
        }
    }

    /// Waits until at most `left` writes are under way.
    fn settle(&mut self, left: usize) -> Result<()> {
        while self.under_way.len() > left {
            let id = self.under_way.front().expect("there is one").id;
            let answered = self.session().and_then(|mut session| session.answer(id));
            match answered {
                Ok(Reply::Status(OK, _)) => drop(self.under_way.pop_front()),
                Ok(reply) => {
                    let doing = format!("writing {}", self.name);
                    return Err(self.target.write_failure(&doing, &reply));
                }
                Err(lost) => self.go_on(lost)?,
            }
        }
        Ok(())
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.settle(WINDOW - 1)?;
        let mut piece = Piece {
            id: 0,
            at: self.at,
            bytes: bytes.to_vec(),
        };
        self.at += bytes.len() as u64;
        let sent = self.ask(&mut piece);
        self.under_way.push_back(piece);
        sent.or_else(|lost| self.go_on(lost))
    }

    fn ask(&self, piece: &mut Piece) -> Result<()> {
        let handle = self
            .handle
            .as_ref()
            .expect("it is open until it is finished");
        let request = Request::new(Request::WRITE)
            .string(handle)
            .long(piece.at)
            .string(&piece.bytes);
        piece.id = self.session()?.ask(request)?;
        Ok(())
    }

    /// The connection was lost: makes another one, and sends what is not known to have arrived.
    fn go_on(&mut self, lost: Error) -> Result<()> {
        for pause in PAUSES {
            std::thread::sleep(Duration::from_secs(pause));
            match self.resume() {
                Ok(true) => return Ok(()),
                Ok(false) => return Err(lost), // the server has lost what it said it had
                Err(_) => {}
            }
        }
        Err(lost)
    }

    fn resume(&mut self) -> Result<bool> {
        self.target.reconnect(self.turn)?;
        self.turn = self.target.session().turn;
        let partial = self
            .partial
            .as_ref()
            .expect("it is there until it is finished");
        let there = self.target.stat_in(&mut *self.session()?, partial)?;
        let arrived = there.and_then(|there| there.size);
        let begin = self.under_way.front().map_or(self.at, |piece| piece.at);
        if arrived.is_none_or(|arrived| arrived < begin) {
            return Ok(false);
        }
        let doing = format!("opening {partial} again");
        let open = Request::new(Request::OPEN)
            .string(self.target.path(partial))
            .number(WRITE)
            .number(0);
        self.handle = self.session()?.handle(&doing, open)?;
        if self.handle.is_none() {
            return Ok(false);
        }
        let mut pieces = std::mem::take(&mut self.under_way);
        let sent = pieces.iter_mut().try_for_each(|piece| self.ask(piece));
        self.under_way = pieces;
        sent.map(|()| true)
    }

    fn publish(&mut self) -> Result<()> {
        self.settle(0)?;
        if let Err(lost) = self.session().map(drop) {
            self.go_on(lost)?;
        }
        let doing = format!("publishing {}", self.name);
        let mut session = self.session()?;
        let handle = self.handle.take().expect("it is open until it is finished");
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
        if let Some(handle) = self.handle.take()
            && let Ok(mut session) = self.session()
        {
            let close = Request::new(Request::CLOSE).string(&handle);
            session.ask(close).map(drop).unwrap_or(());
        }
        if let Some(partial) = self.partial.take() {
            self.target.remove(&partial).map(drop).unwrap_or(());
        }
    }
}
