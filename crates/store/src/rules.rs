//! The business rules, once for both backends: who may do what with a space, who becomes a member or the owner of one, which way
//! into an account may go, how much a space may hold. Each is a pure function of facts to a decision. A backend loads the facts
//! in the transaction that acts on the decision, under the locks that keep them true until its commit, and does nothing that a
//! rule has not granted.

pub(crate) mod departure;
pub(crate) mod invites;
pub(crate) mod members;
pub(crate) mod ownership;
pub(crate) mod quotas;
pub(crate) mod standing;
pub(crate) mod ways_in;
