//! Whatever a client sends, reading it must not panic, and what was accepted must reach other clients unchanged.
#![no_main]

use bytes::Bytes;
use lattice_protocol::{
    Change, Incoming, Operation, Outgoing,
    limits::{MAX_CHANGES_PER_FRAME, MAX_COLUMNS},
    names, native,
    native::{AckId, AuditLogFrame, ClientFrame, ServerFrame},
    value,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let frame = Bytes::copy_from_slice(input);
    let _ = native::decode_server(&frame);
    let _ = value::from_json(&frame);
    let _ = value::string_value(&frame);
    let Ok(ClientFrame::Changes(changes)) = native::decode(&frame, MAX_CHANGES_PER_FRAME) else {
        return;
    };

    let (mut sent, mut page, mut acks) = (Vec::new(), AuditLogFrame::new(), Vec::new());
    for incoming in changes {
        match incoming {
            Incoming::Change(change) => {
                acks.push(AckId::Uuid(change.id, change.id_spelling));
                check(&change);
                let entry = outgoing(change);
                page.push(&entry);
                sent.push(entry);
            }
            Incoming::Refused(refused) => acks.extend(refused.ack.map(AckId::parse)),
        }
    }
    let length = page.len();
    let page = page.finish();
    assert_eq!(page.len(), length);
    assert_eq!(native::decode_server(&page), Ok(ServerFrame::Entries(sent)));
    let ack = native::encode_ack(acks.iter().cloned());
    assert_eq!(native::decode_server(&ack), Ok(ServerFrame::Ack(acks)));
});

fn check(change: &Change) {
    assert!(names::is_valid_table(&change.table));
    assert!(change.fields.len() <= MAX_COLUMNS);
    for field in &change.fields {
        assert!(names::is_valid_name(&field.name));
        assert_eq!(
            value::from_json(&field.value).as_ref(),
            Some(&field.value),
            "an accepted value is stable"
        );
    }
}

fn outgoing(change: Change) -> Outgoing {
    // Of a DELETE of any but a link row nothing but the row is delivered.
    let fields = if change.operation == Operation::Delete {
        Vec::new()
    } else {
        change.fields
    };
    Outgoing {
        id: change.id,
        id_spelling: change.id_spelling,
        table: change.table,
        operation: change.operation,
        row: change.row,
        fields,
        time_us: change.timestamp_us.unwrap_or_default(),
        taken_back: change.filter_removal,
    }
}
