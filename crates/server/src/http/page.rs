//! Lists come in pages: `?limit=` says how long, `?after=` where to go on, which is what the page before called `next`.

use std::marker::PhantomData;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lattice_engine::SpaceId;
use lattice_protocol::id::{Spelling, format_uuid, parse_uuid};
use lattice_store::access_log::EventCursor;
use lattice_store::accounts::UserId;
use lattice_store::directory::{InviteId, RefusalCursor};
use utoipa::IntoParams;

use super::problem::Problem;

/// Items of a page when nothing is said.
pub const DEFAULT_PAGE: u32 = 50;
/// Most items of a page.
pub const MAX_PAGE: u32 = 200;

/// Where a list goes on.
pub(super) trait Cursor: Sized {
    /// Reads what [`write`](Self::write) wrote.
    fn read(text: &str) -> Option<Self>;
    fn write(&self) -> String;
}

macro_rules! id_cursors {
    ($($name:ident),*) => {$(
        impl Cursor for $name {
            fn read(text: &str) -> Option<Self> {
                parse_uuid(text).map(|(bytes, _)| Self(bytes))
            }

            fn write(&self) -> String {
                uuid(&self.0)
            }
        }
    )*};
}
id_cursors!(SpaceId, UserId, InviteId);

/// A time and an id.
fn read_place(text: &str) -> Option<(i64, [u8; 16])> {
    let bytes: [u8; 24] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
    let (at, id) = bytes.split_at(8);
    Some((i64::from_be_bytes(at.try_into().ok()?), id.try_into().ok()?))
}

fn write_place(at_us: i64, id: &[u8; 16]) -> String {
    URL_SAFE_NO_PAD.encode([&at_us.to_be_bytes()[..], &id[..]].concat())
}

impl Cursor for RefusalCursor {
    fn read(text: &str) -> Option<Self> {
        read_place(text).map(|(arrived_us, id)| Self { arrived_us, id })
    }

    fn write(&self) -> String {
        write_place(self.arrived_us, &self.id)
    }
}

impl Cursor for EventCursor {
    fn read(text: &str) -> Option<Self> {
        read_place(text).map(|(at_us, id)| Self { at_us, id })
    }

    fn write(&self) -> String {
        write_place(self.at_us, &self.id)
    }
}

/// A UUID as it is written everywhere but in entries.
pub(crate) fn uuid(bytes: &[u8; 16]) -> String {
    String::from_utf8_lossy(&format_uuid(bytes, Spelling::default())).into_owned()
}

/// What a list is asked for.
pub(super) struct PageOf<C> {
    pub(super) after: Option<C>,
    pub(super) limit: u32,
}

/// How the query of a list is documented.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "read by hand, so that what is wrong with it is a problem document")]
pub(super) struct PageQuery {
    /// `next` of the page before; without it the list starts.
    after: Option<String>,
    /// Most items of the page.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
    #[param(ignore)]
    nothing_else: PhantomData<()>,
}

impl<S: Sync, C: Cursor> FromRequestParts<S> for PageOf<C> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        read(parts.uri.query().unwrap_or_default()).ok_or_else(|| {
            let detail = format!("`limit` is 1 to {MAX_PAGE}, `after` is the `next` of another page.");
            Problem::new(StatusCode::BAD_REQUEST, "bad_query", detail)
        })
    }
}

fn read<C: Cursor>(query: &str) -> Option<PageOf<C>> {
    let mut page = PageOf { after: None, limit: DEFAULT_PAGE };
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*key {
            "after" => page.after = Some(C::read(&value)?),
            "limit" => page.limit = value.parse().ok().filter(|limit| (1..=MAX_PAGE).contains(limit))?,
            _ => {}
        }
    }
    Some(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_bounded() {
        let page = read::<UserId>("").expect("a page");
        assert_eq!((page.limit, page.after), (DEFAULT_PAGE, None));
        let id = UserId([7; 16]);
        let page = read::<UserId>(&format!("limit=200&after={id}&x=y")).expect("a page");
        assert_eq!((page.limit, page.after), (MAX_PAGE, Some(id)));
        for bad in ["limit=0", "limit=201", "limit=-1", "limit=x", "limit=", "after=", "after=x"] {
            assert!(read::<UserId>(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn cursors_come_back() {
        for arrived_us in [i64::MIN, -1, 0, 1_800_000_000_000_000] {
            let cursor = RefusalCursor { arrived_us, id: [9; 16] };
            assert_eq!(RefusalCursor::read(&cursor.write()), Some(cursor));
        }
        for bad in ["", "AAAA", "é", &RefusalCursor { arrived_us: 1, id: [0; 16] }.write()[1..]] {
            assert_eq!(RefusalCursor::read(bad), None, "{bad}");
        }
    }
}
