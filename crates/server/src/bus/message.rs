//! What instances tell one another, as bytes: a version, who speaks, then messages, each with its kind and its length.
//!
//! Instances of two versions run side by side during an upgrade. Of another version everything is left, of the same one
//! those kinds that are not known, so a kind may be added without a new version.

use bytes::Bytes;
use bytestring::ByteString;
use lattice_engine::{Seq, SpaceId};
use lattice_store::accounts::UserId;

/// The first byte.
const VERSION: u8 = 1;
/// Bytes before the first message.
const HEAD_BYTES: usize = 17;
/// Kind and length of a message.
const FRAME_BYTES: usize = 3;
/// Most bytes of a packet. In base64 it must fit into one NOTIFY, 7,999 bytes.
pub const MAX_PACKET_BYTES: usize = 5_900;

/// A process, from its start to its end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct InstanceId(pub [u8; 16]);

/// Something that other instances are told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// The instance is there. It hears this itself, and so knows that it is heard.
    Alive,
    /// A space has reached a seq.
    Head(SpaceId, Seq),
    /// What anybody may do in a space has changed.
    Access(SpaceId),
    /// What a user may do has changed, or one of their sessions has ended.
    User(UserId),
    /// A client shows something in a space. `no` is its slot, which is never used again, `version` counts what it has shown.
    Presence {
        /// The space.
        space: SpaceId,
        /// The client's slot.
        no: u64,
        /// Counts what the client has shown.
        version: u64,
        /// Its user.
        user: [u8; 16],
        /// What it calls itself.
        client_id: Option<ByteString>,
        /// Any JSON but null.
        state: Bytes,
    },
    /// A client shows nothing any more.
    Gone(SpaceId, u64),
    /// Slot and version of all clients of the instance that show something in a space: what was lost is noticed by it.
    Roster(SpaceId, Vec<(u64, u64)>),
    /// The instance would like to know what clients of others show in a space.
    Ask(SpaceId),
}

impl Message {
    fn kind(&self) -> u8 {
        match self {
            Self::Alive => 0,
            Self::Head(..) => 1,
            Self::Access(_) => 2,
            Self::User(_) => 3,
            Self::Presence { .. } => 4,
            Self::Gone(..) => 5,
            Self::Roster(..) => 6,
            Self::Ask(_) => 7,
        }
    }

    fn write(&self, body: &mut Vec<u8>) {
        match self {
            Self::Alive => {}
            Self::Head(space, number) | Self::Gone(space, number) => {
                body.extend_from_slice(&space.0);
                body.extend_from_slice(&number.to_be_bytes());
            }
            Self::Access(space) | Self::Ask(space) => body.extend_from_slice(&space.0),
            Self::User(user) => body.extend_from_slice(&user.0),
            Self::Presence { space, no, version, user, client_id, state } => {
                body.extend_from_slice(&space.0);
                body.extend_from_slice(&no.to_be_bytes());
                body.extend_from_slice(&version.to_be_bytes());
                body.extend_from_slice(user);
                // A client that calls itself nothing is not one without a name.
                body.push(u8::from(client_id.is_some()));
                let name = client_id.as_deref().unwrap_or_default();
                body.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
                body.extend_from_slice(&name.as_bytes()[..name.len().min(usize::from(u8::MAX))]);
                body.extend_from_slice(state);
            }
            Self::Roster(space, states) => {
                body.extend_from_slice(&space.0);
                for (no, version) in states {
                    body.extend_from_slice(&no.to_be_bytes());
                    body.extend_from_slice(&version.to_be_bytes());
                }
            }
        }
    }

    /// Reads a message; `None` when it is of a kind that is not known, or not what its kind should be.
    fn read(kind: u8, mut body: &[u8]) -> Option<Self> {
        let message = match kind {
            0 => return Some(Self::Alive),
            1 => Self::Head(space(&mut body)?, number(&mut body)?),
            2 => Self::Access(space(&mut body)?),
            3 => Self::User(UserId(take(&mut body)?)),
            4 => {
                let (space, no, version) = (space(&mut body)?, number(&mut body)?, number(&mut body)?);
                let (user, [named, length]) = (take(&mut body)?, take(&mut body)?);
                let name = body.split_off(..usize::from(length))?;
                let name = ByteString::from(std::str::from_utf8(name).ok()?);
                let state = Bytes::copy_from_slice(std::mem::take(&mut body));
                Self::Presence { space, no, version, user, client_id: (named == 1).then_some(name), state }
            }
            5 => Self::Gone(space(&mut body)?, number(&mut body)?),
            6 => {
                let space = space(&mut body)?;
                let mut states = Vec::with_capacity(body.len() / 16);
                while !body.is_empty() {
                    states.push((number(&mut body)?, number(&mut body)?));
                }
                Self::Roster(space, states)
            }
            7 => Self::Ask(space(&mut body)?),
            _ => return None,
        };
        body.is_empty().then_some(message)
    }
}

fn take<const N: usize>(body: &mut &[u8]) -> Option<[u8; N]> {
    body.split_off(..N)?.try_into().ok()
}

fn space(body: &mut &[u8]) -> Option<SpaceId> {
    take(body).map(SpaceId)
}

fn number(body: &mut &[u8]) -> Option<u64> {
    take(body).map(u64::from_be_bytes)
}

/// Packs messages in their order. One that does not fit into a packet is left out: there is none that long.
#[must_use]
pub fn pack(from: InstanceId, messages: &[Message]) -> Vec<Vec<u8>> {
    let empty = || {
        let mut packet = Vec::with_capacity(HEAD_BYTES);
        packet.push(VERSION);
        packet.extend_from_slice(&from.0);
        packet
    };
    let (mut packets, mut packet, mut body) = (Vec::new(), empty(), Vec::new());
    for message in messages {
        body.clear();
        message.write(&mut body);
        let Ok(length) = u16::try_from(body.len()) else { continue };
        let bytes = FRAME_BYTES + body.len();
        if HEAD_BYTES + bytes > MAX_PACKET_BYTES {
            continue;
        }
        if packet.len() + bytes > MAX_PACKET_BYTES {
            packets.push(std::mem::replace(&mut packet, empty()));
        }
        packet.push(message.kind());
        packet.extend_from_slice(&length.to_be_bytes());
        packet.extend_from_slice(&body);
    }
    if packet.len() > HEAD_BYTES {
        packets.push(packet);
    }
    packets
}

/// Who speaks, and what is understood of it; `None` for what another version has sent, and for noise.
#[must_use]
pub fn unpack(mut packet: &[u8]) -> Option<(InstanceId, Vec<Message>)> {
    let [version] = take(&mut packet)?;
    if version != VERSION {
        return None;
    }
    let from = InstanceId(take(&mut packet)?);
    let mut messages = Vec::new();
    while !packet.is_empty() {
        let [kind, high, low] = take(&mut packet)?;
        let body = packet.split_off(..usize::from(u16::from_be_bytes([high, low])))?;
        messages.extend(Message::read(kind, body));
    }
    Some((from, messages))
}

#[cfg(test)]
mod tests {
    use lattice_protocol::limits::{MAX_CLIENT_ID_BYTES, MAX_PRESENCE_STATE_BYTES};

    use super::*;
    use crate::hub::MAX_PRESENT_CLIENTS;

    const ME: InstanceId = InstanceId([9; 16]);

    fn shown(client_id: Option<&str>, state: &str) -> Message {
        Message::Presence {
            space: SpaceId([1; 16]),
            no: 7,
            version: 8,
            user: [2; 16],
            client_id: client_id.map(ByteString::from),
            state: Bytes::copy_from_slice(state.as_bytes()),
        }
    }

    #[test]
    fn what_is_packed_comes_out() {
        let space = SpaceId([1; 16]);
        let messages = [
            Message::Alive,
            Message::Head(space, u64::MAX),
            Message::Access(space),
            Message::User(UserId([3; 16])),
            shown(Some("a"), "1"),
            shown(Some(""), "{}"),
            shown(None, "null"),
            Message::Gone(space, 4),
            Message::Roster(space, vec![(1, 2), (3, 4)]),
            Message::Roster(space, vec![]),
            Message::Ask(space),
        ];
        let packets = pack(ME, &messages);
        assert_eq!(packets.len(), 1);
        assert_eq!(unpack(&packets[0]), Some((ME, messages.to_vec())));
        assert_eq!(pack(ME, &[]), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn packets_are_cut_and_the_largest_messages_fit() {
        let heads: Vec<_> = (0..1_000).map(|seq| Message::Head(SpaceId([5; 16]), seq)).collect();
        let packets = pack(ME, &heads);
        assert!(packets.len() > 1 && packets.iter().all(|packet| packet.len() <= MAX_PACKET_BYTES));
        let read = packets.iter().flat_map(|packet| unpack(packet).expect("ours").1);
        assert_eq!(read.collect::<Vec<_>>(), heads);

        let (name, state) = ("n".repeat(MAX_CLIENT_ID_BYTES), "s".repeat(MAX_PRESENCE_STATE_BYTES));
        let roster = (0..MAX_PRESENT_CLIENTS as u64).map(|no| (no, no)).collect();
        for largest in [shown(Some(&name), &state), Message::Roster(SpaceId([1; 16]), roster)] {
            let packets = pack(ME, std::slice::from_ref(&largest));
            assert_eq!(unpack(&packets[0]), Some((ME, vec![largest])));
        }
    }

    #[test]
    fn what_is_not_understood_is_left() {
        let known = Message::Head(SpaceId([1; 16]), 2);
        let mut packet = pack(ME, std::slice::from_ref(&known)).remove(0);
        // A kind of a later version, and a message that is too short.
        packet.extend_from_slice(&[200, 0, 3, 1, 2, 3]);
        packet.extend_from_slice(&[1, 0, 2, 1, 2]);
        packet.extend_from_slice(&[0, 0, 0]);
        assert_eq!(unpack(&packet), Some((ME, vec![known, Message::Alive])));
        // Another version, and anything cut short.
        let whole = pack(ME, &[shown(Some("a"), "1")]).remove(0);
        for length in (0..HEAD_BYTES).chain(HEAD_BYTES + 1..whole.len()) {
            assert_eq!(unpack(&whole[..length]), None, "{length}");
        }
        let mut other = whole;
        other[0] = VERSION + 1;
        assert_eq!(unpack(&other), None);
    }
}
