//! Requests over HTTP: each is a session of its own, and gone once it is answered.

use bytes::Bytes;
use lattice_engine::Outcome;
use lattice_protocol::limits;
use lattice_protocol::plain::{self, ClientFrame, IdSource, encode_error};
use lattice_session::{
    Answer, Hint, HttpEffect, HttpPoll, HttpUpload, Refusal, Slot, SubscribeRequest, UploadFailure,
};

use super::peer::{DERIVATION_KEY, Effect, Session};
use super::{ConnectionNo, Server, Waiting};
use crate::rng::Rng;

/// How many polls of 100 that find nothing wait for something.
const WAITS_PERCENT: usize = 50;

/// A request that is not answered yet.
pub(super) struct HttpRequest {
    name: plain::Space,
    kind: Kind,
    /// A poll that has found nothing waits.
    waits: bool,
}

enum Kind {
    Poll(Box<HttpPoll>),
    Upload(Box<HttpUpload>, plain::Upload, usize),
}

impl HttpRequest {
    pub(super) fn hint(&mut self, hint: Hint) {
        match &mut self.kind {
            Kind::Poll(poll) => poll.hint(hint),
            Kind::Upload(upload, ..) => upload.hint(hint),
        }
    }

    pub(super) fn answer(&mut self, answer: Answer) {
        match &mut self.kind {
            Kind::Poll(poll) => poll.answer(answer),
            Kind::Upload(upload, ..) => upload.answer(answer),
        }
    }

    pub(super) fn uploaded(&mut self, result: Result<Vec<Outcome>, UploadFailure>) {
        if let Kind::Upload(upload, ..) = &mut self.kind {
            upload.uploaded(result);
        }
    }

    fn next(&mut self) -> Option<HttpEffect> {
        match &mut self.kind {
            Kind::Poll(poll) => poll.next_effect(),
            Kind::Upload(upload, ..) => upload.next_effect(),
        }
    }
}

impl Server {
    /// A request has come.
    pub(super) fn begin_request(&mut self, no: ConnectionNo, body: &Bytes, rng: &mut Rng) {
        let limits = self.limits.draw(rng);
        let Some(peer) = self.peers.get_mut(&no) else { return };
        let Session::Http(requests) = &mut peer.session else { return };
        peer.next_request += 1;
        let slot = Slot(peer.next_request);
        let most = limits::MAX_CHANGES_PER_FRAME;
        let subscribe = SubscribeRequest::default();
        let (name, kind) = match plain::decode(body, most) {
            Ok(ClientFrame::Poll(poll)) => {
                let rows = poll.limit.map_or(limits.page_rows, |limit| limit as usize);
                let cursor = poll.cursor.as_deref();
                let mut session = HttpPoll::new(peer.user, poll.space, subscribe, cursor, rows);
                session.set_limits(limits);
                if !rng.chance(WAITS_PERCENT) {
                    session.give_up();
                }
                (poll.space, Kind::Poll(Box::new(session)))
            }
            _ => match plain::decode_upload(body, most) {
                Ok(upload) => {
                    let mut session = HttpUpload::new(peer.user, subscribe, upload.id.clone());
                    session.set_limits(limits);
                    (upload.space, Kind::Upload(Box::new(session), upload, body.len()))
                }
                Err(error) => {
                    self.violations.push(format!("connection {no}: {}: {}", error.code, error.detail));
                    return;
                }
            },
        };
        requests.insert(slot, HttpRequest { name, kind, waits: false });
    }

    /// What the requests of a client say is to be done.
    pub(super) fn next_of_requests(&mut self, no: ConnectionNo) -> Option<Effect> {
        let peer = self.peers.get_mut(&no)?;
        let Session::Http(requests) = &mut peer.session else { return None };
        let mut found = None;
        for (slot, request) in &mut *requests {
            if let Some(effect) = request.next() {
                found = Some((*slot, request.name, effect));
                break;
            }
        }
        let (slot, name, effect) = found?;
        let sent = match effect {
            HttpEffect::Store(request) => return Some(Effect::Store(slot, name, request)),
            HttpEffect::Upload => return Some(Effect::Http(slot)),
            HttpEffect::Wait => {
                requests.get_mut(&slot).into_iter().for_each(|request| request.waits = true);
                return Some(Effect::Nothing);
            }
            HttpEffect::Answer(body) => body,
            HttpEffect::Refused(refusal) => refused(refusal, name),
        };
        requests.remove(&slot);
        Some(Effect::Respond(slot, sent))
    }

    /// Polls that wait look again, or give up. Whether there are any.
    pub(super) fn wake_requests(&mut self, no: ConnectionNo, rng: &mut Rng) -> bool {
        let Some(peer) = self.peers.get_mut(&no) else { return false };
        let Session::Http(requests) = &mut peer.session else { return false };
        let mut woken = false;
        for request in requests.values_mut() {
            if let (Kind::Poll(poll), true) = (&mut request.kind, request.waits) {
                (request.waits, woken) = (false, true);
                if rng.chance(50) { poll.look_again() } else { poll.give_up() }
            }
        }
        woken
    }

    /// The changes of a request are handed over.
    pub(super) fn take_http(&mut self, no: ConnectionNo, slot: Slot, rng: &mut Rng) {
        let Some(peer) = self.peers.get_mut(&no) else { return };
        let (Session::Http(requests), Some(state)) = (&mut peer.session, peer.slots.get(&slot)) else {
            return;
        };
        let Some(HttpRequest { kind: Kind::Upload(session, upload, bytes), .. }) = requests.get_mut(&slot)
        else {
            return;
        };
        let space = state.space;
        let mut random = || rng.uuid();
        let mut source = IdSource {
            key: DERIVATION_KEY,
            user: peer.user,
            client_id: upload.client_id.as_deref(),
            space: self.spaces[space].space.id.0,
            random: &mut random,
        };
        let incoming = upload.changes.read(upload.id.as_ref(), &mut source);
        let (terms, bytes, origin) = (session.uploading(&incoming, *bytes), *bytes, state.origin());
        peer.waiting.push_back(Waiting { slot, space, origin, incoming, bytes, plain: true, terms });
    }
}

fn refused(refusal: Refusal, name: plain::Space) -> Bytes {
    encode_error(refusal.code(), &refusal.to_string(), None, Some(name), None)
}
