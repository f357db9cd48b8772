//! Reading any part of an object at an ssh server.

use super::packet::{EOF, Reply, Request};
use super::session::Session;
use super::{PIECE, READ, SftpTarget, WINDOW};
use crate::archive::Result;
use crate::archive::read::Source;
use crate::target::{check_range, missing, shortened};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// An object that was opened for reading.
pub(super) struct SftpSource<'t> {
    target: &'t SftpTarget,
    /// What it is called there.
    object: String,
    /// What it is called for people.
    name: String,
    length: u64,
    /// What it is open by, and through which connection.
    open: Mutex<Option<(u64, Vec<u8>)>>,
}

impl<'t> SftpSource<'t> {
    /// An object of that length, not open yet.
    pub(super) fn new(target: &'t SftpTarget, object: &str, length: u64) -> Self {
        Self {
            target,
            object: object.to_owned(),
            name: format!("{object} at {}", target.url),
            length,
            open: Mutex::default(),
        }
    }

    /// What it is open by in this connection. The number of another connection's would be that of
    /// another file here.
    pub(super) fn handle(&self, session: &mut Session) -> Result<Vec<u8>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((turn, handle)) = &*open
            && *turn == session.turn
        {
            return Ok(handle.clone());
        }
        let request = Request::new(Request::OPEN)
            .string(self.target.path(&self.object))
            .number(READ)
            .number(0);
        let opened = session.handle(&format!("opening {}", self.object), request)?;
        let handle = opened.ok_or_else(|| missing(&self.object, &self.target.url))?;
        *open = Some((session.turn, handle.clone()));
        Ok(handle)
    }

    /// Reads what is wanted from `at` on into its place. What is still wanted when it fails, is so
    /// then, too.
    fn fill(
        &self,
        session: &mut Session,
        at: u64,
        bytes: &mut [u8],
        wanted: &mut VecDeque<Range<usize>>,
    ) -> Result<()> {
        let handle = self.handle(session)?;
        let mut under_way: VecDeque<(u32, Range<usize>)> = VecDeque::new();
        let mut read = || {
            loop {
                while under_way.len() < WINDOW
                    && let Some(piece) = wanted.front()
                {
                    let request = Request::new(Request::READ)
                        .string(&handle)
                        .long(at + piece.start as u64)
                        .number(u32::try_from(piece.len()).expect("pieces are small"));
                    let id = session.ask(request)?;
                    under_way.extend(wanted.pop_front().map(|piece| (id, piece)));
                }
                let Some((id, piece)) = under_way.front() else {
                    return Ok(());
                };
                match session.answer(*id)? {
                    Reply::Data(data) if !data.is_empty() && data.len() <= piece.len() => {
                        let end = piece.start + data.len();
                        bytes[piece.start..end].copy_from_slice(&data);
                        // A server may give less than was asked for.
                        if end < piece.end {
                            wanted.push_front(end..piece.end);
                        }
                        under_way.pop_front();
                    }
                    Reply::Status(EOF, _) => return Err(shortened(&self.name)),
                    other => return Err(session.failure(&format!("reading {}", self.name), &other)),
                }
            }
        };
        let filled = read();
        wanted.extend(under_way.into_iter().map(|(_, piece)| piece));
        filled
    }
}

impl Source for SftpSource<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn length(&self) -> u64 {
        self.length
    }

    fn read(&self, at: u64, length: usize) -> Result<Vec<u8>> {
        check_range(self, at, length)?;
        let mut bytes = vec![0; length];
        let pieces = (0..length).step_by(PIECE);
        let mut wanted = pieces.map(|from| from..length.min(from + PIECE)).collect();
        self.target
            .again(&mut |session| self.fill(session, at, &mut bytes, &mut wanted))?;
        Ok(bytes)
    }
}

impl Drop for SftpSource<'_> {
    fn drop(&mut self) {
        // Its answer is never asked for; a handle that stays open is closed with the connection.
        let open = self.open.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut session = self.target.session();
        if let Some((turn, handle)) = open
            && *turn == session.turn
        {
            let close = Request::new(Request::CLOSE).string(handle);
            session.ask(close).map(drop).unwrap_or(());
        }
    }
}
