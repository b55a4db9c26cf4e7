//! Whatever a client of the JSON dialect sends, reading it must not panic, and what was accepted must be safe for native
//! clients and survive the way out and back.
#![no_main]

use bytes::Bytes;
use lattice_protocol::{
    Change, Incoming, Operation, Outgoing,
    limits::{MAX_CHANGES_PER_FRAME, MAX_COLUMNS},
    names,
    plain::{self, ChangesFrame, ClientFrame, DerivationKey, Filter, Format, IdSource, Space, Upload},
    value,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let frame = Bytes::copy_from_slice(input);
    if let Some(wire) = plain::from_plain(&frame) {
        check_value(&wire, &wire);
    }
    if let Ok(filter) = Filter::parse(&frame) {
        check_filter(&filter);
    }
    if let Ok(body) = plain::decode_upload(&frame, MAX_CHANGES_PER_FRAME) {
        check_upload(&body);
    }
    match plain::decode(&frame, MAX_CHANGES_PER_FRAME) {
        Ok(ClientFrame::Upload(upload)) => check_upload(&upload),
        Ok(ClientFrame::Subscribe(subscribe)) => check_filter(&subscribe.filter),
        Ok(ClientFrame::Presence {
            state: Some(state), ..
        }) => {
            serde_json::from_slice::<serde_json::Value>(&state).expect("every parser can read it");
        }
        _ => {}
    }
});

fn read(upload: &Upload) -> Vec<Incoming> {
    let mut drawn = 0_u128;
    let mut random = || {
        drawn += 1;
        drawn.to_be_bytes()
    };
    let mut source = IdSource {
        key: DerivationKey([1; 16]),
        user: [2; 16],
        client_id: upload.client_id.as_deref(),
        space: [3; 16],
        random: &mut random,
    };
    upload.changes.read(upload.id.as_ref(), &mut source)
}

fn check_upload(upload: &Upload) {
    let incoming = read(upload);
    assert_eq!(incoming.len(), upload.changes.count());
    assert_eq!(
        incoming,
        read(upload),
        "the same upload has the same ids again"
    );
    for incoming in incoming {
        match incoming {
            Incoming::Change(change) => check_change(change),
            Incoming::Refused(refused) => {
                assert!(refused.ack.is_some(), "every change is answered");
            }
        }
    }
}

fn check_change(change: Change) {
    assert!(names::is_valid_table(&change.table));
    assert!(change.fields.len() <= MAX_COLUMNS);
    for field in &change.fields {
        assert!(names::is_valid_column(&field.name));
        check_value(&field.value, &field.value);
    }
    for pair in change.fields.windows(2) {
        check_value(&pair[0].value, &pair[1].value);
    }
    let fields = if change.operation == Operation::Delete {
        Vec::new()
    } else {
        change.fields
    };
    let entry = Outgoing {
        id: change.id,
        id_spelling: change.id_spelling,
        table: change.table,
        operation: change.operation,
        row: change.row,
        fields,
        time_us: change.timestamp_us.unwrap_or_default(),
        taken_back: change.filter_removal,
    };
    for format in Format::ALL {
        let mut page = ChangesFrame::new(Space::Me);
        page.push(&plain::encode_entry(&entry, format));
        let page = page.finish(None, false);
        let tree: serde_json::Value = serde_json::from_slice(&page).expect("every parser can read it");
        let body = Bytes::from(tree.to_string());
        let back = plain::decode_upload(&body, 1).expect("what is sent can be uploaded");
        let [Incoming::Change(back)] = &*read(&back) else {
            panic!("{body:?} was refused");
        };
        assert_eq!(
            (back.id, &back.row, back.fields.len()),
            (entry.id, &entry.row, entry.fields.len())
        );
    }
}

fn check_value(stored: &Bytes, incoming: &Bytes) {
    assert_eq!(value::from_json(incoming).as_ref(), Some(incoming));
    let read = plain::rekind(stored, incoming);
    assert_eq!(value::from_json(&read).as_ref(), Some(&read));
    assert_eq!(
        plain::rekind(stored, &read),
        read,
        "a kind wins once and for all"
    );
}

fn check_filter(filter: &Filter) {
    let text = Bytes::from(filter.canonical());
    assert_eq!(Filter::parse(&text).as_ref(), Ok(filter));
    for wire in [
        r#"{"kind":1,"value":9007199254740993}"#,
        r#"{"kind":2,"value":"a"}"#,
        "x",
    ] {
        filter.matches("Trip", |_| Some(wire.as_bytes()));
    }
}
