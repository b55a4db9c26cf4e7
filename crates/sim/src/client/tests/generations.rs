//! What differs between the generations.

use super::*;
use Generation::{Current, Early, First, Newest, Old};

fn client(generation: Generation) -> NativeClient {
    NativeClient::of(generation, schema(), 10)
}

fn item(number: u8, row: &str) -> Outgoing {
    entry(number, "Item", Operation::Insert, row, &[("a", i64::from(number))])
}

fn link(number: u8, row: &str) -> Outgoing {
    entry(number, "_links", Operation::Insert, row, &[("lhs", 1), ("rhs", 2)])
}

fn checkpoint(client: &mut NativeClient) -> Option<u8> {
    let text = client.connect()?;
    EntryId::parse(&text).map(|(id, _)| id.0[0])
}

fn removal(number: u8, row: &str) -> Outgoing {
    Outgoing { taken_back: true, ..entry(number, "Item", Operation::Delete, row, &[]) }
}

#[test]
fn a_marked_removal_deletes_on_the_oldest_clients_only() {
    for generation in Generation::ALL {
        let mut client = client(generation);
        deliver(&mut client, &[item(1, "r")]);
        assert_eq!(deliver(&mut client, &[removal(2, "r"), item(3, "s")]).len(), 2, "{generation:?}");
        assert_eq!(values(&client, 0, "r").is_none(), generation == Old, "{generation:?}");
        assert_eq!(checkpoint(&mut client), Some(3), "{generation:?}");
    }
}

#[test]
fn a_marked_removal_moves_no_checkpoint_and_is_not_remembered() {
    for generation in [First, Early, Current, Newest] {
        let mut client = client(generation);
        deliver(&mut client, &[item(1, "r")]);
        assert_eq!(deliver(&mut client, &[removal(2, "r")]), acks(&[2]), "{generation:?}");
        assert_eq!(checkpoint(&mut client), Some(1), "{generation:?}");
        let unmarked = entry(2, "Item", Operation::Delete, "r", &[]);
        deliver(&mut client, &[unmarked]);
        assert_eq!(values(&client, 0, "r"), None, "{generation:?} would have skipped a remembered id");
    }
}

#[test]
fn an_unmarked_removal_deletes_and_moves_the_checkpoint_on_every_client() {
    for generation in Generation::ALL {
        let mut client = client(generation);
        deliver(&mut client, &[item(1, "r"), link(2, "x")]);
        let removal = entry(3, "Item", Operation::Delete, "r", &[]);
        assert_eq!(deliver(&mut client, &[removal]), acks(&[3]), "{generation:?}");
        assert_eq!((values(&client, 0, "r"), checkpoint(&mut client)), (None, Some(3)), "{generation:?}");
        assert!(values(&client, 1, "x").is_some(), "link rows that name it stay");
    }
}

#[test]
fn a_deletion_in_the_log_does_nothing_and_moves_the_checkpoint_on_every_client() {
    for generation in Generation::ALL {
        let mut client = client(generation);
        let mut nothing = entry(1, "Item", Operation::Delete, "nobody", &[]);
        nothing.table = ByteString::from_static("AuditLog");
        let row = RowId { key: RowKey::Uuid([9; 16]), spelling: Spelling::default() };
        assert_eq!(client.apply(&nothing.table, nothing.operation, &row, &[]), Applied::Recorded);
        assert_eq!(client.rows().len(), 0);
        assert_eq!(client.take_delivery(&[nothing], usize::MAX), acks(&[1]), "{generation:?}");
        assert_eq!(checkpoint(&mut client), Some(1), "{generation:?}");
    }
}

#[test]
fn an_unknown_table_ends_the_whole_delivery_on_the_oldest_clients() {
    let unknown = || entry(2, "Later", Operation::Insert, "u", &[("a", 1)]);
    let mut old = client(Old);
    assert_eq!(deliver(&mut old, &[item(1, "r"), unknown(), item(3, "s")]), []);
    assert_eq!((old.rows().len(), checkpoint(&mut old)), (0, None));
    assert_eq!(
        old.unstored().values().collect::<Vec<_>>(),
        [&Unstored::Dropped; 2],
        "both known rows are behind"
    );
    assert_eq!(deliver(&mut old, &[item(1, "r")]), acks(&[1]), "it was not remembered");

    let mut first = client(First);
    assert_eq!(deliver(&mut first, &[item(1, "r"), unknown(), item(3, "s")]), acks(&[1, 3]));
    assert_eq!(checkpoint(&mut first), Some(3));

    for (generation, moved) in [(Early, 1), (Current, 2), (Newest, 2)] {
        let mut client = client(generation);
        assert_eq!(deliver(&mut client, &[item(1, "r"), unknown()]), acks(&[1, 2]), "{generation:?}");
        assert_eq!(checkpoint(&mut client), Some(moved), "{generation:?}");
    }
}

#[test]
fn the_oldest_clients_keep_what_earlier_transactions_of_a_delivery_committed() {
    let mut delivery: Vec<Outgoing> = (1..=50).map(|number| item(number, &format!("r{number}"))).collect();
    delivery.extend([
        item(51, "lost"),
        entry(52, "Later", Operation::Insert, "u", &[]),
        item(53, "lost too"),
    ]);
    let mut old = client(Old);
    assert_eq!(deliver(&mut old, &delivery), [], "and tell nobody");
    assert_eq!((old.rows().len(), checkpoint(&mut old)), (50, Some(50)));
}

#[test]
fn unknown_columns_fail_on_the_oldest_clients_and_are_dropped_by_the_others() {
    let wide = || entry(1, "Item", Operation::Insert, "r", &[("a", 1), ("later", 2)]);
    for generation in [Old, First] {
        let mut client = client(generation);
        assert_eq!(deliver(&mut client, &[wide(), item(2, "s")]), acks(&[2]), "{generation:?}");
        assert_eq!((values(&client, 0, "r"), checkpoint(&mut client)), (None, Some(2)), "{generation:?}");
    }
    for generation in [Early, Current, Newest] {
        let mut client = client(generation);
        assert_eq!(deliver(&mut client, &[wide()]), acks(&[1]), "{generation:?}");
        assert_eq!(values(&client, 0, "r"), Some(vec![Some(value::integer(1)), None]));
    }
}

#[test]
fn an_entry_that_fails_is_not_acknowledged_and_stops_only_later_checkpoints() {
    for (generation, then, next) in [
        (Old, Some(3), Some(4)),
        (First, Some(3), Some(4)),
        (Early, Some(3), Some(4)),
        (Current, Some(1), Some(4)),
        (Newest, Some(1), Some(1)),
    ] {
        let mut client = client(generation);
        let delivery = [link(1, "x"), link(2, "y"), item(3, "r")];
        assert_eq!(deliver(&mut client, &delivery), acks(&[1, 3]), "{generation:?}");
        assert_eq!(checkpoint(&mut client), then, "{generation:?}");
        assert_eq!(deliver(&mut client, &[item(4, "s")]), acks(&[4]), "{generation:?}");
        assert_eq!(checkpoint(&mut client), next, "{generation:?}");
    }
}

#[test]
fn a_known_entry_moves_the_checkpoint_of_the_newer_clients_only() {
    for (generation, moved) in [(Old, 2), (First, 2), (Early, 2), (Current, 1), (Newest, 1)] {
        let mut client = client(generation);
        deliver(&mut client, &[item(1, "r")]);
        deliver(&mut client, &[item(2, "r")]);
        assert_eq!(deliver(&mut client, &[item(1, "r")]), acks(&[1]), "{generation:?}");
        assert_eq!(checkpoint(&mut client), Some(moved), "{generation:?}");
        assert_eq!(values(&client, 0, "r"), Some(vec![Some(value::integer(2)), None]), "it is not applied");
    }
}

#[test]
fn entries_without_effect_are_acknowledged_and_move_the_checkpoint_on_every_client() {
    for generation in Generation::ALL {
        let mut client = client(generation);
        deliver(&mut client, &[item(1, "r")]);
        let idle = [
            entry(2, "Item", Operation::Update, "missing", &[("a", 1)]),
            entry(3, "Item", Operation::Delete, "missing", &[]),
            entry(4, "Item", Operation::Insert, "r", &[("a", 1)]),
            entry(5, "Item", Operation::Update, "r", &[]),
        ];
        assert_eq!(deliver(&mut client, &idle), acks(&[2, 3, 4, 5]), "{generation:?}");
        assert_eq!((client.rows().len(), checkpoint(&mut client)), (1, Some(5)), "{generation:?}");
        deliver(&mut client, &[entry(3, "Item", Operation::Delete, "r", &[])]);
        assert_eq!(client.rows().len(), 1, "{generation:?} remembers what did nothing");
    }
}

#[test]
fn rejected_ends_what_is_in_flight_on_the_newest_clients_only() {
    let rejected = Bytes::from_static(br#"{"kind":"rejected","rejected":"unknown_frame: ..."}"#);
    for generation in Generation::ALL {
        let mut client = NativeClient::of(generation, schema(), 1);
        client.insert(label(1), 0, row("r"), fields(&[("a", 1)]));
        client.insert(label(2), 0, row("s"), fields(&[("a", 1)]));
        let _ = client.next_upload();
        let given_up = client.receive(&rejected).unwrap().given_up;
        let lost: &[EntryId] = if generation == Newest { &[id(1)] } else { &[] };
        assert_eq!(given_up, lost, "{generation:?}");
        assert_eq!(client.pending().len(), 2 - lost.len(), "{generation:?}");
    }
}

#[test]
fn a_locked_database_leaves_the_rest_of_a_delivery_and_later_ones_pass_over_it() {
    let delivery: Vec<Outgoing> = (1..=60).map(|number| item(number, &format!("r{number}"))).collect();
    for (generation, acked_now, after) in
        [(Old, 0, 61), (First, 0, 61), (Early, 0, 61), (Current, 50, 61), (Newest, 50, 50)]
    {
        let mut client = client(generation);
        let received = client.receive_locked(&frame(&delivery), 1).unwrap();
        assert_eq!(acked(&received).len(), acked_now, "{generation:?}");
        assert_eq!((client.rows().len(), checkpoint(&mut client)), (50, Some(50)), "{generation:?}");
        deliver(&mut client, &[item(61, "s")]);
        assert_eq!(checkpoint(&mut client), Some(after), "{generation:?}");
        assert_eq!(client.unstored().len(), 10, "{generation:?}");
    }
}

#[test]
fn a_client_that_is_killed_in_a_delivery_goes_on_from_what_it_has() {
    let delivery = [item(1, "r"), item(2, "s"), item(3, "t")];
    for (generation, after) in [(Old, 4), (First, 4), (Early, 4), (Current, 4), (Newest, 2)] {
        let mut client = client(generation);
        client.receive_and_die(&frame(&delivery), 2).unwrap();
        assert_eq!((client.rows().len(), checkpoint(&mut client)), (2, Some(2)), "{generation:?}");
        deliver(&mut client, &[item(4, "u")]);
        assert_eq!(checkpoint(&mut client), Some(after), "{generation:?}");
    }
}

#[test]
fn what_another_process_hands_over_becomes_the_checkpoint_of_the_older_clients() {
    for (generation, taken) in
        [(Old, Some(2)), (First, Some(2)), (Early, Some(2)), (Current, Some(1)), (Newest, Some(1))]
    {
        let mut client = client(generation);
        deliver(&mut client, &[item(1, "r")]);
        assert!(client.take_delivered(&item(2, "s")), "{generation:?}");
        assert_eq!(checkpoint(&mut client), taken, "{generation:?}");
        assert_eq!(client.pending().len(), 1, "it is uploaded here under the same id");
    }
}

#[test]
fn an_unmarked_deletion_is_relayed_under_the_id_that_it_came_with() {
    let mut receiver = client(Current);
    deliver(&mut receiver, &[item(1, "r"), entry(2, "Item", Operation::Delete, "r", &[])]);
    let deletion = receiver.recent().back().cloned().unwrap();
    let mut other = client(Current);
    deliver(&mut other, &[item(1, "r")]);
    assert!(other.take_delivered(&deletion));
    assert_eq!(other.rows().len(), 0);
    let Ok(ClientFrame::Changes(changes)) = decode(&other.next_upload().unwrap(), 10) else {
        panic!("changes")
    };
    let [Incoming::Change(change)] = &changes[..] else { panic!("one change") };
    assert_eq!((change.id, change.operation), (id(2), Operation::Delete));
    assert!(!other.take_delivered(&deletion), "and once only");
}

#[test]
fn an_upgrade_of_the_app_never_sees_columns_that_were_dropped() {
    let wide = vec![Table::new("Item", &["a", "b", "later"]), Table::new("Later", &["a"])];
    let column = || entry(1, "Item", Operation::Insert, "r", &[("a", 1), ("later", 2)]);
    let table = || entry(2, "Later", Operation::Insert, "u", &[("a", 1)]);
    for generation in [Early, Current, Newest] {
        let mut client = client(generation);
        deliver(&mut client, &[column(), table()]);
        let before = checkpoint(&mut client);
        client.upgrade(generation, &wide);
        assert_eq!(checkpoint(&mut client), before, "{generation:?} asks for nothing");
        assert_eq!(deliver(&mut client, &[column(), table()]), acks(&[1, 2]));
        let later = client.rows()[&(0, row("r").key)].values[2].clone();
        assert_eq!(later, None, "{generation:?}: the id is known");
        assert!(client.rows().contains_key(&(1, row("u").key)), "{generation:?}: the table was not");
        let fresh = Outgoing { id: id(3), ..column() };
        deliver(&mut client, &[fresh]);
        assert_eq!(client.rows()[&(0, row("r").key)].values[2], Some(value::integer(2)), "{generation:?}");
    }
    // On the oldest nothing of it was remembered.
    let mut first = client(First);
    deliver(&mut first, &[column()]);
    first.upgrade(First, &wide);
    assert_eq!(deliver(&mut first, &[column()]), acks(&[1]));
}

#[test]
fn a_database_of_an_older_library_never_has_a_checkpoint_in_the_newest() {
    let mut client = client(Current);
    deliver(&mut client, &[item(1, "r")]);
    client.upgrade(Newest, &schema());
    assert_eq!(client.connect(), None);
    deliver(&mut client, &[item(2, "s")]);
    assert_eq!((client.connect(), client.rows().len()), (None, 2));
    let mut other = NativeClient::of(Old, schema(), 10);
    deliver(&mut other, &[item(1, "r")]);
    other.upgrade(Current, &schema());
    assert_eq!(other.connect(), Some(id(1).to_string()), "the others keep theirs");
}
