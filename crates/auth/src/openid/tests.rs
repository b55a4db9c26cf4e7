use super::*;

fn settings(name: &str) -> ProviderSettings {
    ProviderSettings { name: name.to_owned(), ..google(vec!["app".to_owned()], ClientAuthentication::None) }
}

#[test]
fn names_are_words_that_mean_nothing_else() {
    for good in ["google", "apple", "corp-1", "a"] {
        assert_eq!(settings(good).problem(), None, "{good}");
    }
    for bad in ["", "Google", "1corp", "-corp", "a/b", "login", "token", "password", &"x".repeat(33)] {
        assert!(settings(bad).problem().is_some_and(|problem| problem.starts_with("has the name")), "{bad}");
    }
}

#[test]
fn what_cannot_work_is_noticed_at_the_start() {
    let nobody = ProviderSettings { client_ids: Vec::new(), ..settings("corp") };
    let plain = ProviderSettings { issuer: "http://id.example".to_owned(), ..settings("corp") };
    let keyed = |team: &str, key: &str| {
        let secret = KeyedSecret {
            team_id: team.to_owned(),
            key_id: "K".to_owned(),
            private_key: key.to_owned().into(),
        };
        apple(vec!["app".to_owned()], Some(secret))
    };
    for bad in [nobody, plain, keyed("", "x"), keyed("T", "not a key")] {
        assert!(bad.problem().is_some(), "{bad:?}");
    }
    assert_eq!(apple(vec!["app".to_owned()], None).problem(), None);
    assert!(!format!("{:?}", keyed("T", "not a key")).contains("not a key"), "secrets are not shown");
}

#[test]
fn a_nonce_is_what_was_chosen_or_its_hash() {
    let hash = hex(&Sha256::digest("chosen"));
    let of_app = |chosen, claim| Nonce::OfApp(chosen).matches(claim);
    assert!(of_app(Some("chosen"), Some("chosen")) && of_app(Some("chosen"), Some(&hash)));
    assert!(of_app(None, None));
    for (chosen, claim) in [
        (Some("chosen"), None),
        (None, Some("chosen")),
        (Some("chosen"), Some("other")),
        (Some(""), Some("")),
        // Whoever has a token must not get by with what stands in it.
        (Some(hash.as_str()), Some("chosen")),
    ] {
        assert!(!of_app(chosen, claim), "{chosen:?} {claim:?}");
    }
    let long = "x".repeat(MAX_NONCE_BYTES + 1);
    assert!(!of_app(Some(&long), Some(&long)));
    assert!(Nonce::Exactly("n").matches(Some("n")));
    assert!(!Nonce::Exactly("n").matches(None) && !Nonce::Exactly("n").matches(Some(&hash)));
}
