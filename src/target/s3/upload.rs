//! An object on its way to the store: in parts, with no more than a few of them in memory.

use super::S3Target;
use crate::archive::{Error, Result};
use crate::target::Upload;
use opendal::{Operator, Writer};
use std::io::{self, Write};
use tokio::sync::{mpsc, oneshot};

/// The size of a part. A store takes 10 000 of one object: 234 GiB. All but the last are alike,
/// which some stores demand.
const PART: usize = 24 << 20;
/// So many are sent at once, which hides the time between an answer and the next part.
const AT_ONCE: usize = 2;

enum Piece {
    Part(Vec<u8>),
    End,
}

/// An object being written. The task that writes it aborts it unless it is told of its end.
pub(super) struct S3Upload<'t> {
    target: &'t S3Target,
    doing: String,
    part: Vec<u8>,
    parts: Option<mpsc::Sender<Piece>>,
    outcome: Option<oneshot::Receiver<opendal::Result<()>>>,
}

impl<'t> S3Upload<'t> {
    pub(super) fn begin(target: &'t S3Target, name: &str) -> Self {
        let (parts, pieces) = mpsc::channel(1);
        let (done, outcome) = oneshot::channel();
        let task = task(
            target.operator.clone(),
            name.to_owned(),
            target.create_only,
            pieces,
        );
        target.runtime.handle().spawn(async move {
            // Nobody waits for it: then nobody needs to know.
            done.send(task.await).unwrap_or(());
        });
        Self {
            target,
            doing: format!("writing {name}"),
            part: Vec::new(),
            parts: Some(parts),
            outcome: Some(outcome),
        }
    }

    fn send(&mut self, piece: Piece) -> Result<()> {
        let parts = self.parts.as_ref().ok_or_else(|| self.lost())?;
        match parts.blocking_send(piece) {
            Ok(()) => Ok(()),
            // The task has ended, with the reason.
            Err(_) => Err(self.ended().err().unwrap_or_else(|| self.lost())),
        }
    }

    fn ended(&mut self) -> Result<()> {
        self.parts = None;
        let outcome = self.outcome.take().ok_or_else(|| self.lost())?;
        match outcome.blocking_recv() {
            Ok(outcome) => outcome.map_err(|error| self.target.told(&self.doing, &error)),
            Err(_) => Err(self.lost()),
        }
    }

    fn lost(&self) -> Error {
        self.target.told(
            &self.doing,
            &super::failure("the upload was given up".into()),
        )
    }
}

impl Write for S3Upload<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.part.len() == PART {
            let part = std::mem::take(&mut self.part);
            self.send(Piece::Part(part)).map_err(io::Error::other)?;
        }
        if self.part.capacity() == 0 {
            // At once, so that it is never larger than a part.
            self.part.reserve_exact(PART);
        }
        let now = bytes.len().min(PART - self.part.len());
        self.part.extend_from_slice(&bytes[..now]);
        Ok(now)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Upload for S3Upload<'_> {
    fn finish(mut self: Box<Self>) -> Result<()> {
        let part = std::mem::take(&mut self.part);
        self.send(Piece::Part(part))?;
        self.send(Piece::End)?;
        self.ended()
    }
}

impl Drop for S3Upload<'_> {
    fn drop(&mut self) {
        // Without its end the task aborts, which is waited for: nothing shall be left behind.
        self.parts = None;
        if let Some(outcome) = self.outcome.take() {
            outcome.blocking_recv().map(drop).unwrap_or(());
        }
    }
}

async fn task(
    operator: Operator,
    name: String,
    create_only: bool,
    mut pieces: mpsc::Receiver<Piece>,
) -> opendal::Result<()> {
    if !create_only && operator.exists(&name).await? {
        return Err(opendal::Error::new(
            opendal::ErrorKind::ConditionNotMatch,
            "there is an object of that name",
        ));
    }
    let begin = operator.writer_with(&name).if_not_exists(create_only);
    let mut writer = begin.concurrent(AT_ONCE).await?;
    let outcome = write(&mut writer, &mut pieces).await;
    if outcome.is_err() {
        // If that fails as well, the next run finds what is left.
        writer.abort().await.unwrap_or(());
    }
    outcome
}

async fn write(writer: &mut Writer, pieces: &mut mpsc::Receiver<Piece>) -> opendal::Result<()> {
    loop {
        match pieces.recv().await {
            Some(Piece::Part(part)) => writer.write(part).await?,
            Some(Piece::End) => return writer.close().await.map(|_| ()),
            None => return Err(super::failure("the upload was given up".into())),
        }
    }
}
