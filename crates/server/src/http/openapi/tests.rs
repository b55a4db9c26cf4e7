//! The document is whole: what it says is there answers, what answers is in it, and what it refers to exists.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::http::testing::Bench;

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

async fn document(bench: &Bench) -> Value {
    let answer = bench.get("/openapi.json", None).await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    answer.is(200)
}

fn operations(document: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = document["paths"].as_object().expect("paths");
    paths
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().expect("an item").iter();
            methods
                .filter(|(method, _)| METHODS.contains(&method.as_str()))
                .map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
        })
        .collect()
}

#[tokio::test]
async fn what_is_documented_answers_and_nothing_else_does() {
    let bench = Bench::new();
    let document = document(&bench).await;
    assert_eq!(document["openapi"], json!("3.1.0"));
    let documented = operations(&document);
    let paths: BTreeSet<&str> = documented.iter().map(|(path, ..)| *path).collect();
    for path in paths {
        for method in METHODS {
            // The socket has a state of its own, and no route here.
            if path == "/sync" {
                continue;
            }
            let known = documented.iter().any(|(of, with, _)| *of == path && *with == method);
            let address = path.replace(['{', '}'], "");
            let answer = bench.call(&method.to_uppercase(), &address, &[], "").await;
            let code = answer.body["code"].as_str().unwrap_or_default();
            let exists = !["not_found", "method_not_allowed"].contains(&code);
            assert_eq!(exists, known, "{method} {path}: {} {code}", answer.status);
        }
    }
}

/// Addresses that are given to a router outside `routes!`, which alone documents what it adds.
fn bare_routes(source: &str) -> Vec<&str> {
    source.split(".route(\"").skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

#[tokio::test]
async fn no_route_is_added_without_its_documentation() {
    let bench = Bench::new();
    let document = document(&bench).await;
    assert_eq!(bare_routes(".route(\"/a\", x).route(\"/b\", y)"), ["/a", "/b"]);
    for source in [include_str!("../mod.rs"), include_str!("../../run.rs")] {
        for path in bare_routes(source) {
            assert!(document["paths"].get(path).is_some(), "{path} is not documented");
        }
    }
}

#[tokio::test]
async fn every_operation_says_what_it_takes_and_answers() {
    let bench = Bench::new();
    let document = document(&bench).await;
    let mut ids = BTreeSet::new();
    for (path, method, operation) in operations(&document) {
        let name = format!("{method} {path}");
        assert!(
            ids.insert(operation["operationId"].as_str().expect("an id").to_owned()),
            "{name}: its id is taken"
        );
        assert!(operation["summary"].as_str().is_some_and(|text| text.ends_with('.')), "{name}");
        assert!(operation["tags"].as_array().is_some_and(|tags| tags.len() == 1), "{name}");
        let responses = operation["responses"].as_object().expect("responses");
        for (status, response) in responses {
            let content = &response["content"];
            match status.as_str() {
                "101" | "202" | "204" | "303" => assert!(content.is_null(), "{name} {status}"),
                "200" | "201" => {
                    let kinds =
                        ["application/json", "text/html"].map(|kind| content[kind]["schema"].is_object());
                    assert!(kinds.contains(&true), "{name} {status}");
                }
                _ => {
                    let schema = &content["application/problem+json"]["schema"]["allOf"];
                    assert_eq!(schema[0], json!({"$ref": "#/components/schemas/Problem"}), "{name} {status}");
                    let codes = schema[1]["properties"]["code"]["enum"].as_array();
                    assert!(codes.is_some_and(|codes| !codes.is_empty()), "{name} {status}");
                }
            }
        }
        // Whoever needs a token says so both ways.
        let needs_token = operation["security"] == json!([{"bearer": []}]);
        let codes = responses.get("401").map(Value::to_string).unwrap_or_default();
        assert_eq!(needs_token, codes.contains("token_missing"), "{name}");
        for parameter in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
            let parameters = operation["parameters"].as_array().expect("parameters");
            assert!(parameters.iter().any(|one| one["name"] == parameter && one["in"] == "path"), "{name}");
        }
    }
    assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], json!("bearer"));
}

fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(object) => {
            found.extend(object.get("$ref").and_then(Value::as_str));
            object.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn what_it_refers_to_exists() {
    let bench = Bench::new();
    let document = document(&bench).await;
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 50);
    for reference in found {
        let pointer = reference.strip_prefix('#').expect("a reference within the document");
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}
