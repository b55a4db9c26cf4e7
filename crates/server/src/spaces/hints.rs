//! Who is told when access changes.

use lattice_engine::SpaceId;
use lattice_store::accounts::UserId;

/// Is told after a change of access is durable, so that open connections ask again at once. A hint that is lost costs time:
/// connections ask again by themselves when [`Directory::version`](lattice_store::directory::Directory::version) has changed.
pub trait AccessHints: Send + Sync {
    /// Who may do what in this space may have changed, or it is gone. Must not block.
    fn access_changed(&self, space: SpaceId);

    /// What this user may do may have changed: a session ended, a space was gained, or they are gone. Must not block.
    fn user_changed(&self, user: UserId);
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHints;

impl AccessHints for NoHints {
    fn access_changed(&self, _: SpaceId) {}
    fn user_changed(&self, _: UserId) {}
}
