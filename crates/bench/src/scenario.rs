//! The scenarios.

pub(crate) mod bulk;
pub(crate) mod catch_up;
pub(crate) mod closed_loop;
pub(crate) mod fan_out;
pub(crate) mod idle;
pub(crate) mod postgres;

use crate::Failure;
use crate::frames::{Id, Ids, Operation, Window, acked};
use crate::ws::Conn;

/// Path of the sync socket.
pub(crate) const SYNC: &str = "/sync";
/// Windows that a client has in flight.
const WINDOWS_IN_FLIGHT: usize = 2;
/// Entries of a window.
pub(crate) const WINDOW: usize = 1_000;

/// Windows of new rows.
pub(crate) fn new_rows(count: usize, ids: &mut Ids) -> Vec<Window> {
    let window = |_| {
        let rows: Vec<Id> = (0..WINDOW).map(|_| ids.row()).collect();
        Window::new(Operation::Insert, &rows, ids)
    };
    (0..count).map(window).collect()
}

/// Uploads masked windows, two in flight, until all their entries are acknowledged.
pub(crate) async fn upload(conn: &mut Conn, windows: &[(Vec<u8>, usize)]) -> Result<(), Failure> {
    let total: usize = windows.iter().map(|(_, entries)| entries).sum();
    let (mut waiting, mut sent_entries, mut acked_entries) = (windows.iter(), 0, 0);
    while acked_entries < total {
        while sent_entries - acked_entries <= (WINDOWS_IN_FLIGHT - 1) * WINDOW {
            let Some((window, entries)) = waiting.next() else { break };
            conn.send(window).await?;
            sent_entries += entries;
        }
        let received = conn.next().await?;
        let payload = conn.payload(&received);
        match acked(payload) {
            Some(count) => acked_entries += count,
            None if payload.starts_with(br#"{"kind""#) => {
                return Err(format!("the server refused an upload: {}", String::from_utf8_lossy(payload)));
            }
            None => {}
        }
    }
    Ok(())
}
