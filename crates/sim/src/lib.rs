//! Deterministic simulation: many model clients, a faulty network and disk, virtual time, one seed per run.
