//! Measures how fast uploads are read and deliveries written: `cargo run --release -p lattice-protocol --example throughput`.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program for the terminal")]

use std::{hint::black_box, time::Instant};

use bytes::Bytes;
use lattice_protocol::{
    EntryId, Field, Incoming, Operation, Outgoing, RowId, Spelling,
    native::{self, AuditLogFrame, ClientFrame, Upload},
    plain, value,
};

const ENTRIES: usize = 1_000;
const SECONDS: f64 = 2.0;

fn entry(number: usize) -> Outgoing {
    let mut id = (number as u128).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C834).to_be_bytes();
    // Version 8 is the server's own.
    id[6] = id[6] & 0x0F | 0x40;
    let text = |name: &'static str, text: &str| Field { name: name.into(), value: value::text(text) };
    Outgoing {
        id: EntryId(id),
        id_spelling: Spelling(1 << 16),
        table: "Person".into(),
        operation: Operation::Insert,
        row: RowId::parse(&EntryId(id).to_text(Spelling::default())).unwrap(),
        fields: vec![
            Field { name: "count".into(), value: value::integer(number as i64) },
            text("name", "Ada Lovelace"),
            text("note", "first program"),
        ],
        time_us: 1_711_800_000_123_000 + number as i64,
        taken_back: false,
    }
}

fn measure(what: &str, bytes: usize, mut work: impl FnMut()) {
    let (start, mut rounds) = (Instant::now(), 0);
    while start.elapsed().as_secs_f64() < SECONDS {
        work();
        rounds += 1;
    }
    let megabytes = (bytes * rounds) as f64 / 1e6;
    println!("{what}: {:.0} MB/s", megabytes / start.elapsed().as_secs_f64());
}

fn decode(frame: &Bytes) -> Vec<Incoming> {
    match native::decode(frame, usize::MAX) {
        Ok(ClientFrame::Changes(changes)) => changes,
        other => panic!("{other:?}"),
    }
}

fn decode_plain(frame: &Bytes) -> Vec<Incoming> {
    let Ok(plain::ClientFrame::Upload(upload)) = plain::decode(frame, usize::MAX) else { panic!() };
    let mut source = plain::IdSource {
        key: plain::DerivationKey([1; 16]),
        user: [2; 16],
        client_id: Some("phone"),
        space: [3; 16],
        random: &mut || [4; 16],
    };
    upload.changes.read(upload.id.as_ref(), &mut source)
}

fn measure_plain(entries: &[Outgoing]) {
    let format = plain::Format::default();
    let encoded: Vec<Bytes> = entries.iter().map(|entry| plain::encode_entry(entry, format)).collect();
    let frame = |ids: bool| -> Bytes {
        let text = |entry: &Bytes| String::from_utf8(entry.to_vec()).unwrap();
        let without = |entry: &Bytes| text(entry).replacen("\"id\"", "\"was\"", 1);
        let changes: Vec<_> =
            encoded.iter().map(|entry| if ids { text(entry) } else { without(entry) }).collect();
        format!(r#"{{"type":"upload","changes":[{}]}}"#, changes.join(",")).into()
    };
    for (what, frame) in [
        ("plain: decode, small changes", frame(true)),
        ("plain: decode, small changes, ids derived", frame(false)),
    ] {
        assert!(decode_plain(&frame).iter().all(|change| matches!(change, Incoming::Change(_))));
        measure(what, frame.len(), || {
            black_box(decode_plain(&frame));
        });
    }
    measure("plain: encode, small entries", encoded.iter().map(Bytes::len).sum(), || {
        for entry in entries {
            black_box(plain::encode_entry(entry, format));
        }
    });
}

fn main() {
    let entries: Vec<_> = (0..ENTRIES).map(entry).collect();
    let frame = native::encode_upload(entries.iter().map(Upload::new));
    assert!(decode(&frame).iter().all(|change| matches!(change, Incoming::Change(_))));
    println!("{} bytes per entry", frame.len() / ENTRIES);
    measure("decode, small entries", frame.len(), || {
        black_box(decode(&frame));
    });
    measure("encode, small entries", frame.len(), || {
        let mut frame = AuditLogFrame::new();
        for entry in &entries {
            frame.push(entry);
        }
        black_box(frame.finish());
    });
    measure_plain(&entries);
    let mut large = entry(1);
    large.fields[1].value = value::text(&"x".repeat(1 << 20));
    let frame = native::encode_upload([Upload::new(&large)]);
    measure("decode, 1 MiB text", frame.len(), || {
        black_box(decode(&frame));
    });
    large.fields[1].value = value::text(&"line\n".repeat(1 << 18));
    let frame = native::encode_upload([Upload::new(&large)]);
    measure("decode, text full of escapes", frame.len(), || {
        black_box(decode(&frame));
    });
}
