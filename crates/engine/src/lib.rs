//! Sans-IO core of Lattice sync: merge rules, row state, and what each connection must be sent.
