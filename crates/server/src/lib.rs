//! The Lattice sync server: HTTP, WebSocket, hub, configuration and the lattice-server binary.
