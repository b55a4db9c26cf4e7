use std::sync::{Arc, Mutex};

use lattice_store::accounts::{SessionId, UserId};
use lattice_store::time::Clock;
use secrecy::{ExposeSecret, SecretString};

use super::*;
use crate::mailer::Mailer;
use crate::service::{Client, PasskeySettings, Passkeys, Proof, SessionTokens};
use crate::testing::Bench;

const EMAIL: &str = "ann@example.com";
const PASSWORD: &str = "correct horse";
const NEXT: &str = "battery staple";

/// Keeps letters for tests to read.
#[derive(Default)]
struct Box_(Mutex<Vec<Letter>>);

impl Mailer for Box_ {
    fn is_on(&self) -> bool {
        true
    }

    fn send(&self, letter: Letter) {
        self.0.lock().expect("a lock").push(letter);
    }
}

impl Box_ {
    /// The token of the only letter that has come since the last look, and where it went.
    #[track_caller]
    fn link(&self) -> (String, SecretString) {
        let letters = std::mem::take(&mut *self.0.lock().expect("a lock"));
        let [letter] = &letters[..] else { panic!("one letter, not {letters:?}") };
        match &letter.content {
            LetterContent::VerifyEmail(token)
            | LetterContent::ResetPassword(token)
            | LetterContent::ConfirmNewEmail(token) => (letter.to.clone(), token.clone()),
            other => panic!("{other:?} has no link"),
        }
    }

    #[track_caller]
    fn notice(&self) -> (String, String) {
        let letters = std::mem::take(&mut *self.0.lock().expect("a lock"));
        let [letter] = &letters[..] else { panic!("one letter, not {letters:?}") };
        (letter.to.clone(), format!("{:?}", letter.content))
    }

    fn is_empty(&self) -> bool {
        self.0.lock().expect("a lock").is_empty()
    }
}

/// Somebody with an account, and their letter box, which is empty but for the first link.
async fn with_mail() -> (Bench, Arc<Box_>, SessionTokens, SecretString) {
    let mut bench = Bench::new();
    let post = Arc::new(Box_::default());
    bench.auth = bench.auth.with_mailer(post.clone());
    let ann = bench.auth.signup(EMAIL, PASSWORD.into(), None, Client::default()).await.expect("new");
    let (to, token) = post.link();
    assert_eq!(to, EMAIL);
    (bench, post, ann, token)
}

async fn login(bench: &Bench, password: &str) -> Result<SessionTokens, AuthError> {
    bench.auth.login(EMAIL, password.into(), Client::default()).await
}

async fn worth(bench: &Bench, tokens: &SessionTokens) -> Result<SessionId, AuthError> {
    bench.auth.authenticate(&tokens.access).await.map(|identity| identity.session)
}

async fn verified(bench: &Bench, user: UserId) -> bool {
    bench.store.user_by_id(user).await.expect("read").is_some_and(|user| user.email_verified_us.is_some())
}

#[tokio::test]
async fn an_address_is_verified_once_by_its_latest_link_in_time() {
    let (bench, post, ann, first) = with_mail().await;
    assert!(!verified(&bench, ann.user.id).await);
    assert_eq!(bench.auth.require_verified_email(ann.user.id).await, Err(AuthError::EmailUnverified));
    bench.auth.send_verification(ann.user.id).await.expect("sent");
    let (_, second) = post.link();
    assert_eq!(bench.auth.verify_email(&first).await, Err(AuthError::LinkInvalid), "a new one voids it");
    bench.clock.forward_s(VERIFY_LINK_LIFE_S);
    assert_eq!(bench.auth.verify_email(&second).await, Err(AuthError::LinkInvalid), "too late");
    bench.auth.send_verification(ann.user.id).await.expect("sent");
    let (_, third) = post.link();
    bench.clock.forward_s(VERIFY_LINK_LIFE_S - 1);
    assert_eq!(bench.auth.verify_email(&third).await, Ok(ann.user.id));
    assert_eq!(bench.auth.verify_email(&third).await, Err(AuthError::LinkInvalid), "good once");
    assert!(verified(&bench, ann.user.id).await);
    assert_eq!(bench.auth.require_verified_email(ann.user.id).await, Ok(()));
    bench.auth.send_verification(ann.user.id).await.expect("nothing to send");
    assert!(post.is_empty());
}

#[tokio::test]
async fn a_new_password_ends_every_session_and_shows_whose_the_address_is() {
    let (bench, post, ann, _) = with_mail().await;
    bench.auth.send_reset(" ANN@example.com").await.expect("sent");
    let (_, first) = post.link();
    bench.auth.send_reset(EMAIL).await.expect("sent");
    let (to, token) = post.link();
    assert_eq!(to, EMAIL);
    assert_eq!(bench.auth.reset_password(&first, NEXT.into()).await, Err(AuthError::LinkInvalid));
    for (password, error) in [("short", AuthError::WeakPassword), ("password1", AuthError::CommonPassword)] {
        assert_eq!(bench.auth.reset_password(&token, password.into()).await, Err(error));
    }
    assert!(worth(&bench, &ann).await.is_ok());
    assert_eq!(
        bench.auth.reset_password(&token, NEXT.into()).await,
        Ok(ann.user.id),
        "the link is still good"
    );
    assert_eq!(post.notice(), (EMAIL.to_owned(), "PasswordChanged".to_owned()));
    assert_eq!(worth(&bench, &ann).await, Err(AuthError::SessionRevoked));
    assert_eq!(
        bench.auth.reset_password(&token, PASSWORD.into()).await,
        Err(AuthError::LinkInvalid),
        "good once"
    );
    assert_eq!(login(&bench, PASSWORD).await.err(), Some(AuthError::InvalidCredentials));
    assert!(login(&bench, NEXT).await.is_ok());
    assert!(verified(&bench, ann.user.id).await);

    bench.auth.send_reset(EMAIL).await.expect("sent");
    let (_, late) = post.link();
    bench.clock.forward_s(RESET_LINK_LIFE_S);
    assert_eq!(bench.auth.reset_password(&late, PASSWORD.into()).await, Err(AuthError::LinkInvalid));
    for nobody in ["nobody@example.com", "not an address"] {
        bench.auth.send_reset(nobody).await.expect("nothing is said");
    }
    assert!(post.is_empty());
}

#[tokio::test]
async fn links_are_for_one_purpose() {
    let (bench, post, ann, verify) = with_mail().await;
    let identity = bench.auth.authenticate(&ann.access).await.expect("a good token");
    bench.auth.send_reset(EMAIL).await.expect("sent");
    let (_, reset) = post.link();
    bench.auth.send_email_change(&identity, PASSWORD.into(), "new@example.com").await.expect("sent");
    let (_, change) = post.link();
    for token in [&verify, &change] {
        assert_eq!(bench.auth.reset_password(token, NEXT.into()).await, Err(AuthError::LinkInvalid));
    }
    for token in [&verify, &reset] {
        assert_eq!(bench.auth.confirm_email_change(token).await, Err(AuthError::LinkInvalid));
    }
    for token in [&change, &reset, &"llt_x".into(), &"".into(), &ann.access, &ann.refresh] {
        assert_eq!(bench.auth.verify_email(token).await, Err(AuthError::LinkInvalid));
    }
    assert_eq!(bench.auth.verify_email(&verify).await, Ok(ann.user.id), "none of it used them up");
}

#[tokio::test]
async fn whoever_knows_the_password_changes_it_and_ends_other_sessions() {
    let (bench, post, ann, _) = with_mail().await;
    let other = login(&bench, PASSWORD).await.expect("right");
    let identity = bench.auth.authenticate(&ann.access).await.expect("a good token");
    bench.auth.send_reset(EMAIL).await.expect("sent");
    let (_, reset) = post.link();
    let change = |current: &str, new: &str| bench.auth.change_password(&identity, current.into(), new.into());
    assert_eq!(change("wrong horse", NEXT).await, Err(AuthError::InvalidCredentials));
    assert_eq!(change(PASSWORD, "short").await, Err(AuthError::WeakPassword));
    assert_eq!(change(PASSWORD, "ann@example.com").await, Err(AuthError::CommonPassword));
    assert!(worth(&bench, &other).await.is_ok());
    assert_eq!(change(PASSWORD, NEXT).await, Ok(()));
    assert_eq!(post.notice(), (EMAIL.to_owned(), "PasswordChanged".to_owned()));
    assert!(worth(&bench, &ann).await.is_ok(), "the one that asked goes on");
    assert_eq!(worth(&bench, &other).await, Err(AuthError::SessionRevoked));
    assert_eq!(bench.auth.reset_password(&reset, PASSWORD.into()).await, Err(AuthError::LinkInvalid));
    assert!(login(&bench, NEXT).await.is_ok());
}

#[tokio::test]
async fn an_address_changes_once_its_new_one_answers() {
    let (bench, post, ann, _) = with_mail().await;
    let other = login(&bench, PASSWORD).await.expect("right");
    let identity = bench.auth.authenticate(&ann.access).await.expect("a good token");
    let ask =
        |password: &str, email: &'static str| bench.auth.send_email_change(&identity, password.into(), email);
    assert_eq!(ask("wrong horse", "new@example.com").await, Err(AuthError::InvalidCredentials));
    assert_eq!(ask(PASSWORD, "nonsense").await, Err(AuthError::BadEmail));
    assert!(post.is_empty());
    assert_eq!(ask(PASSWORD, "New@Example.com").await, Ok(()));
    let (to, token) = post.link();
    assert_eq!(to, "new@example.com");
    assert!(login(&bench, PASSWORD).await.is_ok(), "nothing has changed yet");
    assert_eq!(bench.auth.confirm_email_change(&token).await, Ok(ann.user.id));
    assert_eq!(post.notice(), (EMAIL.to_owned(), "EmailChanged".to_owned()), "the old one hears of it");
    assert!(worth(&bench, &ann).await.is_ok());
    assert_eq!(worth(&bench, &other).await, Err(AuthError::SessionRevoked));
    assert_eq!(login(&bench, PASSWORD).await.err(), Some(AuthError::InvalidCredentials));
    let user = bench.store.user_by_id(ann.user.id).await.expect("read").expect("Ann");
    assert_eq!(user.email.as_deref(), Some("new@example.com"));
    assert!(user.email_verified_us.is_some());
    assert_eq!(bench.auth.confirm_email_change(&token).await, Err(AuthError::LinkInvalid));

    // An address that somebody has is not told from one that nobody has before its own mail is read.
    let bob =
        bench.auth.signup("bob@example.com", PASSWORD.into(), None, Client::default()).await.expect("new");
    let (_, bobs_link) = post.link();
    assert_eq!(ask(PASSWORD, "bob@example.com").await, Ok(()));
    let (_, taken) = post.link();
    assert_eq!(bench.auth.confirm_email_change(&taken).await, Err(AuthError::EmailTaken));
    assert_eq!(bench.auth.verify_email(&bobs_link).await, Ok(bob.user.id));
}

#[tokio::test]
async fn without_mail_nothing_is_promised() {
    let bench = Bench::new();
    let ann = bench.auth.signup(EMAIL, PASSWORD.into(), None, Client::default()).await.expect("new");
    let identity = bench.auth.authenticate(&ann.access).await.expect("a good token");
    assert_eq!(bench.auth.send_verification(ann.user.id).await, Err(AuthError::MailUnavailable));
    let asked = bench.auth.send_email_change(&identity, PASSWORD.into(), "new@example.com").await;
    assert_eq!(asked, Err(AuthError::MailUnavailable));
    assert_eq!(bench.auth.require_verified_email(ann.user.id).await, Ok(()), "nobody could be");
    assert_eq!(bench.auth.change_password(&identity, PASSWORD.into(), NEXT.into()).await, Ok(()));
}

#[tokio::test]
async fn where_it_is_required_nobody_comes_in_before_their_address_is_verified() {
    let (bench, post, ann, _) = with_mail().await;
    let Bench { auth, .. } = bench;
    let auth = auth.requiring_verified_email(true);
    let login = |password: &str| auth.login(EMAIL, password.into(), Client::default());
    assert_eq!(login(PASSWORD).await.err(), Some(AuthError::EmailUnverified));
    let (_, link) = post.link();
    assert_eq!(login("wrong horse").await.err(), Some(AuthError::InvalidCredentials), "said to nobody else");
    assert!(post.is_empty());
    assert_eq!(auth.verify_email(&link).await, Ok(ann.user.id));
    assert!(login(PASSWORD).await.is_ok());
    let signup = auth.signup("bob@example.com", PASSWORD.into(), None, Client::default()).await;
    assert_eq!(
        signup.err(),
        Some(AuthError::EmailUnverified),
        "the account is there, the link is on its way"
    );
    assert_eq!(post.link().0, "bob@example.com");
}

#[test]
fn a_letter_shows_no_token() {
    let token: SecretString = "llt_secret".into();
    let letter = Letter { to: EMAIL.to_owned(), content: LetterContent::ResetPassword(token.clone()) };
    assert!(!format!("{letter:?}").contains(token.expose_secret()));
}

#[tokio::test]
async fn nobody_prepares_an_account_under_an_address_that_may_be_another_s() {
    let (bench, post, ann, link) = with_mail().await;
    let settings = PasskeySettings {
        rp_id: "example.com".to_owned(),
        origins: vec!["https://example.com".parse().expect("an origin")],
        name: "Trips".to_owned(),
    };
    let bench = bench.with(|auth| auth.with_passkeys(Passkeys::new(&settings).expect("settings")));
    let identity = bench.auth.authenticate(&ann.access).await.expect("somebody");
    let unverified = Err(AuthError::EmailUnverified);
    assert_eq!(bench.auth.offer_totp(&identity, "Trips").await.map(drop), unverified);
    assert_eq!(bench.auth.start_passkey(&identity).await.map(drop), unverified);
    let proof = || Proof::Code { code: "x".into(), verifier: "x".into() };
    assert_eq!(bench.auth.link_identity(&identity, proof()).await.map(drop), unverified);
    assert_eq!(bench.auth.verify_email(&link).await, Ok(ann.user.id));
    assert_eq!(bench.auth.link_identity(&identity, proof()).await.map(drop), Err(AuthError::CodeInvalid));
    assert!(bench.auth.start_passkey(&identity).await.is_ok());
    // An offer that is taken back is nothing that anybody must be told of; what was asked for is.
    assert!(bench.auth.offer_totp(&identity, "Trips").await.is_ok());
    assert_eq!(bench.auth.remove_totp(&identity).await, Ok(()));
    assert!(post.is_empty());
    let offer = bench.auth.offer_totp(&identity, "Trips").await.expect("an offer");
    let secret = totp_rs::Secret::try_from_base32(offer.secret.expose_secret()).expect("base32");
    let app = totp_rs::Builder::new().with_secret(secret).build().expect("a secret");
    let now_s = (bench.clock.now_us() / SECOND_US).cast_unsigned();
    let code: SecretString = app.generate(now_s).to_string().into();
    assert!(bench.auth.confirm_totp(&identity, &code).await.is_ok());
    assert_eq!(bench.auth.remove_totp(&identity).await, Ok(()));
    assert_eq!(post.notice(), (EMAIL.to_owned(), "SecondFactorRemoved".to_owned()));
}
