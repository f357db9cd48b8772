//! Reading any part of an object at an ssh server.

use super::packet::{EOF, Reply, Request};
use super::session::Session;
use super::{PIECE, SftpTarget, WINDOW};
use crate::archive::Result;
use crate::archive::read::Source;
use crate::target::{check_range, shortened};
use std::collections::VecDeque;

/// An object that was opened for reading.
pub(super) struct SftpSource<'t> {
    pub(super) target: &'t SftpTarget,
    pub(super) name: String,
    pub(super) length: u64,
    pub(super) handle: Vec<u8>,
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
        let ask = |session: &mut Session, from: usize, to: usize| {
            let piece = u32::try_from(to - from).expect("pieces are small");
            let request = Request::new(Request::READ).string(&self.handle);
            session.ask(request.long(at + from as u64).number(piece))
        };
        let mut session = self.target.session();
        let mut bytes = vec![0; length];
        let (mut asked, mut under_way) = (0, VecDeque::new());
        loop {
            while asked < length && under_way.len() < WINDOW {
                let end = length.min(asked + PIECE);
                under_way.push_back((ask(&mut session, asked, end)?, asked, end));
                asked = end;
            }
            let Some((id, from, to)) = under_way.pop_front() else {
                return Ok(bytes);
            };
            match session.answer(id)? {
                Reply::Data(data) if !data.is_empty() && data.len() <= to - from => {
                    let end = from + data.len();
                    bytes[from..end].copy_from_slice(&data);
                    // A server may give less than was asked for.
                    if end < to {
                        under_way.push_back((ask(&mut session, end, to)?, end, to));
                    }
                }
                Reply::Status(EOF, _) => {
                    return Err(shortened(&self.name));
                }
                other => return Err(session.failure(&format!("reading {}", self.name), &other)),
            }
        }
    }
}

impl Drop for SftpSource<'_> {
    fn drop(&mut self) {
        // Its answer is never asked for; a handle that stays open is closed with the connection.
        let close = Request::new(Request::CLOSE).string(&self.handle);
        self.target.session().ask(close).map(drop).unwrap_or(());
    }
}
