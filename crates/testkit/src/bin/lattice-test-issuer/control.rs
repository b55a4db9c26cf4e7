//! What tests may tell the provider: `POST /control/WHAT` with a JSON body, answered by JSON; 400 with a text when it cannot be.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::keys::Key;
use crate::token::Token;
use crate::world::{KeySet, Shared, World};

#[derive(Deserialize)]
struct Rotation {
    algorithm: Algorithm,
    /// Whether the keys before stay in the key set.
    keep: bool,
    /// Whether the new key is in it.
    publish: bool,
}

#[derive(Deserialize)]
struct Answers {
    how: KeySet,
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    extra_keys: Vec<Value>,
}

type Done = Result<Value, String>;

/// Does what it is told.
pub(crate) async fn control(
    State(shared): State<Shared>,
    Path(what): Path<String>,
    Json(body): Json<Value>,
) -> Result<Json<Value>, (StatusCode, String)> {
    let done = obey(&mut shared.lock(), &what, body);
    done.map(Json).map_err(|reason| (StatusCode::BAD_REQUEST, reason))
}

fn obey(world: &mut World, what: &str, body: Value) -> Done {
    match what {
        "rotate" => rotate(world, &read(body)?),
        "key-set" => {
            let answers: Answers = read(body)?;
            world.key_set = answers.how;
            world.key_set_headers = answers.headers;
            world.extra_keys = answers.extra_keys;
            Ok(Value::Null)
        }
        "discovery" => done(&mut world.discovery, body),
        "client" => done(&mut world.client, body),
        "client-key" => {
            let key = Key::generate("client-key", Algorithm::ES256)?;
            let pem = String::from_utf8(key.private_pem()).map_err(|error| error.to_string())?;
            world.client_key = Some(key);
            Ok(json!({"kid": "client-key", "pem": pem}))
        }
        "user" => done(&mut world.user, body),
        "response" => done(&mut world.response, body),
        "bend" => done(&mut world.bent, body),
        "mint" => Ok(json!(read::<Token>(body)?.mint(world, None)?)),
        "requests" => Ok(json!(world.requests)),
        other => Err(format!("what is {other}?")),
    }
}

fn rotate(world: &mut World, rotation: &Rotation) -> Done {
    if !rotation.keep {
        world.keys.iter_mut().for_each(|key| key.published = false);
    }
    let kid = world.add_key(rotation.algorithm)?;
    if let Some(key) = world.keys.last_mut() {
        key.published = rotation.publish;
    }
    Ok(json!(kid))
}

fn done<T: DeserializeOwned>(place: &mut T, body: Value) -> Done {
    *place = read(body)?;
    Ok(Value::Null)
}

fn read<T: DeserializeOwned>(body: Value) -> Result<T, String> {
    serde_json::from_value(body).map_err(|error| error.to_string())
}
