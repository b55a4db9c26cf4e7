//! Passwords, sessions, tokens and keys of Lattice Server.
