//! The storage trait of Lattice Server, its SQLite backend and the conformance suite.
