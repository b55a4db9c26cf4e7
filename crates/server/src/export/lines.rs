//! Lines on their way out.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::mpsc;

use super::ExportError;
use super::views::Line;

/// Lines are collected until they have this many bytes.
const PIECE_BYTES: usize = 64 << 10;
/// How long whoever takes the export may leave a piece where it is.
const MAX_STALL: Duration = Duration::from_secs(60);

/// Hands lines on, in pieces.
pub(super) struct Lines {
    buffer: Vec<u8>,
    count: u64,
    to: mpsc::Sender<Result<Bytes, ExportError>>,
}

impl Lines {
    pub(super) fn new(to: mpsc::Sender<Result<Bytes, ExportError>>) -> Self {
        Self { buffer: Vec::new(), count: 0, to }
    }

    /// Adds a line; waits while whoever takes them is slow.
    pub(super) async fn line(&mut self, line: &impl Serialize) -> Result<(), ExportError> {
        let corrupt = |error: serde_json::Error| lattice_store::StoreError::Database(error.to_string());
        serde_json::to_writer(&mut self.buffer, line).map_err(corrupt)?;
        self.buffer.push(b'\n');
        self.count += 1;
        if self.buffer.len() >= PIECE_BYTES { self.send().await } else { Ok(()) }
    }

    /// Adds the last line, which says how many there were with it.
    pub(super) async fn end(mut self) -> Result<u64, ExportError> {
        let lines = self.count + 1;
        self.line(&Line::end(lines)).await?;
        self.send().await?;
        Ok(lines)
    }

    async fn send(&mut self) -> Result<(), ExportError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = Bytes::from(std::mem::take(&mut self.buffer));
        match tokio::time::timeout(MAX_STALL, self.to.send(Ok(piece))).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(ExportError::Gone),
        }
    }
}
