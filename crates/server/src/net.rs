//! TCP: accepting connections, and the byte stream under a WebSocket.

pub mod io;
pub mod listen;
