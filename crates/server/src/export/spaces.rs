//! What of spaces is exported: of those that the user owns the rows as they are, and of all of them the user's own changes.

use std::sync::Arc;

use lattice_engine::{PullRequest, Role, Seq, SpaceId};
use lattice_store::directory::{Selector, SpaceEntry, SpaceKind};
use lattice_store::spaces::Space;

use super::views::Line;
use super::{Export, ExportError, PAGE};

/// Rows of a page.
const PAGE_ROWS: usize = 200;
/// Bytes of rows of a page, and one row more.
const PAGE_BYTES: usize = 256 << 10;
/// Lines of the audit log of the first page, and of each that follows a large one: a line can be as large as a frame.
const MIN_AUDIT_LINES: usize = 8;
/// Most lines of a page.
const MAX_AUDIT_LINES: usize = 128;
/// A page of at most so many bytes is followed by one of twice as many lines.
const SMALL_PAGE_BYTES: usize = 64 << 10;

impl Export<'_> {
    /// The user's spaces, the private one first, with what they hold.
    pub(super) async fn spaces(&mut self) -> Result<(), ExportError> {
        let mut after = None;
        loop {
            self.check().await?;
            let page = self.from.directory.spaces_of(self.user, after, PAGE).await?;
            for entry in &page.items {
                self.space(entry).await?;
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    async fn space(&mut self, entry: &SpaceEntry) -> Result<(), ExportError> {
        let Some(space) = self.seen(entry.id).await? else { return Ok(()) };
        let head = self.from.spaces.head(&space).await?;
        self.lines.line(&Line::space(entry, head.seq)).await?;
        if entry.role == Role::Owner {
            if entry.kind != SpaceKind::Private {
                self.invites(entry.id).await?;
            }
            self.rows(&space).await?;
        }
        self.changes(&space, entry.kind == SpaceKind::Private).await
    }

    /// The space, while the user may see it.
    async fn seen(&mut self, id: SpaceId) -> Result<Option<Arc<Space>>, ExportError> {
        let access = self.from.directory.access(self.user, Selector::Id(id)).await?;
        Ok(access.map(|access| access.space))
    }

    /// Open invites to a space that the user owns, who alone invites.
    async fn invites(&mut self, space: SpaceId) -> Result<(), ExportError> {
        let (mut after, now_us) = (None, self.from.clock.now_us());
        loop {
            // Whoever has given the space away meanwhile is denied.
            let Ok(page) = self.from.directory.invites(self.user, space, after, PAGE, now_us).await? else {
                return Ok(());
            };
            for invite in &page.items {
                self.lines.line(&Line::invite("invite", invite)).await?;
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// The rows of a space as they are.
    async fn rows(&mut self, space: &Space) -> Result<(), ExportError> {
        let mut after: Seq = 0;
        loop {
            if !self.may_go_on(space).await? {
                return Ok(());
            }
            let request = PullRequest::page(after, PAGE_ROWS, PAGE_BYTES);
            let page = self.from.spaces.pull(space, &request).await?;
            for row in &page.rows {
                after = row.last_seq;
                if row.is_live() && !row.hidden {
                    self.lines.line(&Line::row(space.id, row)).await?;
                }
            }
            if !page.more {
                return Ok(());
            }
        }
    }

    /// The user's own changes, or all of them where nobody else writes.
    async fn changes(&mut self, space: &Space, all: bool) -> Result<(), ExportError> {
        let (mut after, mut lines): (Seq, usize) = (0, MIN_AUDIT_LINES);
        loop {
            if !self.may_go_on(space).await? {
                return Ok(());
            }
            let page = self.from.spaces.audit(space, after, lines).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.record.seq;
            let bytes: usize = page.iter().map(|line| line.record.raw.len()).sum();
            for line in page.iter().filter(|line| all || line.user == Some(self.user.0)) {
                self.lines.line(&Line::change("change", space.id, line)).await?;
            }
            lines =
                if bytes <= SMALL_PAGE_BYTES { (2 * lines).min(MAX_AUDIT_LINES) } else { MIN_AUDIT_LINES };
        }
    }

    /// Whether the session still lives and the user still sees the space: looked at if something may have changed.
    async fn may_go_on(&mut self, space: &Space) -> Result<bool, ExportError> {
        let before = self.version;
        self.check().await?;
        Ok(before == self.version || self.seen(space.id).await?.is_some())
    }
}
