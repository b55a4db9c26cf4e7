//! Letters to the owners of accounts. How they travel is the server's affair.

use secrecy::SecretString;

/// A letter.
#[derive(Clone, Debug)]
pub struct Letter {
    /// The address it goes to.
    pub to: String,
    /// What it says.
    pub content: LetterContent,
}

/// What a letter says.
#[derive(Clone, Debug)]
pub enum LetterContent {
    /// Follow this link to show that the address is yours.
    VerifyEmail(SecretString),
    /// Follow this link to set a new password.
    ResetPassword(SecretString),
    /// Follow this link to make this the address of your account.
    ConfirmNewEmail(SecretString),
    /// Your password was changed.
    PasswordChanged,
    /// Your account has another address now.
    EmailChanged,
    /// There is another way to sign in to your account now.
    WayInAdded,
    /// A second factor of your account was removed.
    SecondFactorRemoved,
}

/// Takes letters.
pub trait Mailer: Send + Sync {
    /// Whether letters can be sent at all.
    fn is_on(&self) -> bool;

    /// Takes a letter to be sent soon. Must not block, and says nothing of what becomes of it: whoever asked for it must not learn
    /// from the answer, nor from how long it takes, whether there is such an account.
    fn send(&self, letter: Letter);
}

/// Sends nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoMailer;

impl Mailer for NoMailer {
    fn is_on(&self) -> bool {
        false
    }

    fn send(&self, _: Letter) {}
}
