//! TCP: accepting connections, and the byte stream under a WebSocket.

pub mod client_address;
pub mod io;
pub mod listen;
