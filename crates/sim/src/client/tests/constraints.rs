//! What the databases of clients refuse. All generations leave such an entry out of their ack and go on.

use super::*;

fn tables() -> Arc<Schema> {
    Arc::new(vec![
        Table::new("Item", &["a", "b"]).not_null(&["a"]).unique(&["b"]),
        Table::new("_links", &["lhs", "rhs"]),
        Table::new("_any", &["lhs", "rhs", "rhs_type"]),
        Table::new("_Feed", &["\"case\"", "text", "photo__w", "photo__h"])
            .case("text", &["text"])
            .case("photo", &["photo__w", "photo__h"])
            .case("none", &[]),
        Table::new("_Item_bounds", &["parent_id", "minLat"]).not_null(&["parent_id", "minLat"]),
    ])
}

fn client() -> NativeClient {
    NativeClient::of(Generation::Current, tables(), 10)
}

fn insert(number: u8, table: &'static str, row: &str, values: &[(&'static str, i64)]) -> Outgoing {
    entry(number, table, Operation::Insert, row, values)
}

fn update(number: u8, table: &'static str, row: &str, values: &[(&'static str, i64)]) -> Outgoing {
    entry(number, table, Operation::Update, row, values)
}

fn with_null(mut entry: Outgoing, column: &'static str) -> Outgoing {
    entry.fields.push(Field { name: ByteString::from_static(column), value: value::null() });
    entry
}

fn of_case(mut entry: Outgoing, case: &str) -> Outgoing {
    entry.fields.push(Field { name: ByteString::from_static(CASE), value: value::text(case) });
    entry
}

fn unstored(client: &NativeClient, key: &str) -> Option<Unstored> {
    client.unstored().get(&(0, row(key).key)).cloned()
}

fn behind(column: &'static str) -> Option<Unstored> {
    Some(Unstored::Columns([ByteString::from_static(column)].into()))
}

#[test]
fn an_insert_must_name_what_may_not_be_null_even_where_the_row_is_there() {
    let mut client = client();
    assert_eq!(deliver(&mut client, &[insert(1, "Item", "r", &[("b", 1)])]), []);
    assert_eq!(unstored(&client, "r"), Some(Unstored::Row));
    assert_eq!(deliver(&mut client, &[insert(2, "Item", "r", &[("a", 1), ("b", 1)])]), acks(&[2]));
    assert_eq!(unstored(&client, "r"), None);
    assert_eq!(deliver(&mut client, &[insert(3, "Item", "r", &[("b", 2)])]), []);
    assert_eq!(deliver(&mut client, &[update(4, "Item", "r", &[("b", 2)])]), acks(&[4]));
    assert_eq!(deliver(&mut client, &[with_null(update(5, "Item", "r", &[]), "a")]), []);
    assert_eq!(unstored(&client, "r"), behind("a"));
    assert_eq!(deliver(&mut client, &[with_null(update(6, "Item", "missing", &[]), "a")]), acks(&[6]));
}

#[test]
fn a_value_that_only_one_row_may_have_is_refused_to_the_second() {
    let mut client = client();
    let rows = [insert(1, "Item", "r", &[("a", 1), ("b", 7)]), insert(2, "Item", "s", &[("a", 1), ("b", 7)])];
    assert_eq!(deliver(&mut client, &rows), acks(&[1]));
    assert_eq!(unstored(&client, "s"), Some(Unstored::Row));
    let nulls = [insert(3, "Item", "t", &[("a", 1)]), insert(4, "Item", "u", &[("a", 1)])];
    assert_eq!(deliver(&mut client, &nulls), acks(&[3, 4]), "nulls are not the same");
    assert_eq!(deliver(&mut client, &[update(5, "Item", "t", &[("b", 7)])]), []);
    assert_eq!(unstored(&client, "t"), behind("b"));
    deliver(&mut client, &[entry(6, "Item", Operation::Delete, "r", &[])]);
    assert_eq!(
        deliver(&mut client, &[rows[1].clone()]),
        acks(&[2]),
        "under the same id: it was not remembered"
    );
    assert_eq!(unstored(&client, "s"), None);
    assert!(
        !client.insert(label(9), 0, row("mine"), fields(&[("a", 1), ("b", 7)])),
        "nor can the app store it"
    );
    assert!(!client.update(label(9), 0, &row("u").key, fields(&[("b", 7)])));
    assert_eq!(client.pending().len(), 0);
}

#[test]
fn a_pair_is_linked_once_and_a_pair_of_each_type_in_polymorphic_lists() {
    let mut client = client();
    let link = |number, row| insert(number, "_links", row, &[("lhs", 1), ("rhs", 2)]);
    assert_eq!(deliver(&mut client, &[link(1, "x"), link(2, "y")]), acks(&[1]));
    let typed =
        |number, row, kind| insert(number, "_any", row, &[("lhs", 1), ("rhs", 2), ("rhs_type", kind)]);
    assert_eq!(deliver(&mut client, &[typed(3, "x", 1), typed(4, "y", 2), typed(5, "z", 1)]), acks(&[3, 4]));
}

#[test]
fn a_union_row_has_the_columns_of_its_case_and_no_others() {
    let mut client = client();
    let text = of_case(insert(1, "_Feed", "r", &[("text", 1)]), "text");
    assert_eq!(deliver(&mut client, &[text]), acks(&[1]));
    let half = of_case(insert(2, "_Feed", "s", &[("photo__w", 1)]), "photo");
    let unknown = of_case(insert(3, "_Feed", "s", &[]), "video");
    let caseless = insert(4, "_Feed", "s", &[("text", 1)]);
    assert_eq!(deliver(&mut client, &[half, unknown, caseless]), []);
    // Whatever else the row had must be taken out by the same entry.
    let photo = |number| of_case(insert(number, "_Feed", "r", &[("photo__w", 1), ("photo__h", 1)]), "photo");
    assert_eq!(deliver(&mut client, &[photo(5)]), []);
    assert_eq!(deliver(&mut client, &[with_null(photo(6), "text")]), acks(&[6]));
    assert_eq!(deliver(&mut client, &[update(7, "_Feed", "r", &[("text", 1)])]), []);
    assert_eq!(deliver(&mut client, &[of_case(insert(8, "_Feed", "t", &[]), "none")]), acks(&[8]));
}

#[test]
fn the_column_of_the_case_has_its_quotes_on_the_wire() {
    let mut client = client();
    let values = of_case(insert(1, "_Feed", "r", &[("text", 1)]), "text").fields;
    assert!(client.insert(label(1), 3, row("r"), values));
    let upload = client.next_upload().unwrap();
    let text = std::str::from_utf8(&upload).unwrap();
    assert!(text.contains(r#""changedFieldsNames":["text","\"case\""]"#), "{text}");
}

#[test]
fn a_deletion_from_a_list_of_bounds_names_no_column() {
    let mut client = client();
    assert!(client.insert(label(1), 4, row("r"), fields(&[("parent_id", 1), ("minLat", 2)])));
    assert!(client.insert(label(2), 0, row("s"), fields(&[("a", 1)])));
    let _ = client.next_upload();
    client.delete(label(3), 4, &row("r").key);
    client.delete(label(4), 0, &row("s").key);
    let upload = client.next_upload().unwrap();
    let text = std::str::from_utf8(&upload).unwrap();
    let (list, item) = text.split_once("},{").unwrap_or_else(|| panic!("{text}"));
    assert!(list.contains(r#""changedFields":{},"changedFieldsNames":[]"#), "{list}");
    assert!(item.contains(r#""changedFieldsNames":["a","b"]"#), "{item}");
}

#[test]
fn an_unknown_table_of_relations_is_made_as_one_of_links() {
    let mut client = client();
    let link = |number, row| insert(number, "_new", row, &[("lhs", 1), ("rhs", 2)]);
    assert_eq!(deliver(&mut client, &[link(1, "x"), link(2, "y")]), acks(&[1]));
    let typed = insert(3, "_new", "z", &[("lhs", 1), ("rhs", 3), ("rhs_type", 1)]);
    assert_eq!(deliver(&mut client, &[typed]), [], "of these columns");
    let union = of_case(insert(4, "_Other", "r", &[("text", 1)]), "text");
    assert_eq!(deliver(&mut client, &[union]), [], "and nothing else fits into it");
    assert_eq!(client.schema().len(), tables().len() + 2);
}

#[test]
fn columns_that_an_upgrade_adds_have_a_default_and_may_be_null() {
    let mut client = client();
    deliver(&mut client, &[insert(1, "Item", "r", &[("a", 1)])]);
    let wide = vec![Table::new("Item", &["a", "b", "n"]).not_null(&["a", "n"])];
    client.upgrade(Generation::Current, &wide);
    let of = |client: &NativeClient, key: &str| client.rows()[&(0, row(key).key)].values[2].clone();
    assert_eq!(of(&client, "r"), Some(value::integer(0)));
    assert_eq!(deliver(&mut client, &[insert(2, "Item", "s", &[("a", 1)])]), acks(&[2]));
    assert_eq!(of(&client, "s"), Some(value::integer(0)));
    assert_eq!(deliver(&mut client, &[with_null(update(3, "Item", "s", &[]), "n")]), acks(&[3]));
    let mut fresh = NativeClient::of(Generation::Current, Arc::new(wide), 10);
    assert_eq!(
        deliver(&mut fresh, &[insert(2, "Item", "s", &[("a", 1)])]),
        [],
        "a new database has no default"
    );
}
