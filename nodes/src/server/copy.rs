//! A group's content on its way to whoever keeps a copy of it.

use std::pin::Pin;

use futures::{Stream, stream};
use quorate::LogId;
use quorate::snapshot::Snapshot;
use tokio::sync::mpsc;
use tonic::Status;

use super::proto::copy_piece::Piece;
use super::proto::{CopyBegin, CopyEnd, CopyPiece};

/// The longest piece: well below what gRPC takes in one message.
const PIECE: usize = 256 << 10;

/// Pieces read ahead.
const AHEAD: usize = 4;

pub(super) type PieceStream = Pin<Box<dyn Stream<Item = Result<CopyPiece, Status>> + Send>>;

/// Reads a copy piece by piece, as fast as it is taken.
pub(super) fn pieces(copy: Snapshot, last: LogId) -> PieceStream {
    let (sender, pieces) = mpsc::channel(AHEAD);
    // It may be read from a disk.
    tokio::task::spawn_blocking(move || {
        let send = |piece: Piece| sender.blocking_send(Ok(CopyPiece { piece: Some(piece) })).is_ok();
        let mut bytes = 0;
        let mut reader = copy.view.open();
        if !send(Piece::Begin(CopyBegin { term: last.term.0, index: last.index.0 })) {
            return;
        }
        loop {
            match reader.next() {
                Ok(Some(mut content)) => {
                    bytes += content.len() as u64;
                    while !content.is_empty() {
                        let piece = content.split_to(content.len().min(PIECE));
                        // Nobody may want it any more.
                        if !send(Piece::Content(piece.to_vec())) {
                            return;
                        }
                    }
                }
                Ok(None) => {
                    send(Piece::End(CopyEnd { bytes }));
                    return;
                }
                Err(error) => {
                    let _ = sender.blocking_send(Err(Status::data_loss(error.to_string())));
                    return;
                }
            }
        }
    });
    Box::pin(stream::unfold(pieces, |mut pieces| async move { Some((pieces.recv().await?, pieces)) }))
}
