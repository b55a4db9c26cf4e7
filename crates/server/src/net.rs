//! Connections: accepting them, TLS, HTTP on them, and the byte stream under a WebSocket.

mod acme;
mod certificate;
pub mod client_address;
pub mod connection;
pub mod io;
pub mod listen;
pub mod redirect;
pub mod settings;
pub mod stream;
pub mod tls;
