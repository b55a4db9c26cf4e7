//! What there is to note.

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// What happened. Names are stable; lists and filters use them.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[non_exhaustive]
        pub enum Kind {
            $($(#[$doc])* $variant,)*
        }

        impl Kind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stable name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// The kind with this name.
            #[must_use]
            pub fn parse(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

kinds! {
    /// An account was made.
    SignUp = "sign_up",
    /// Somebody was let in; `detail.method` says how.
    SignIn = "sign_in",
    /// Somebody was not; the subject is the account that was tried, if there is one.
    SignInFailed = "sign_in_failed",
    /// A token was used; once an hour for each session and address.
    TokenUsed = "token_used",
    /// A session was continued by its refresh token; once an hour for each session and address.
    TokenRefreshed = "token_refreshed",
    /// A refresh token was used a second time, and its session was ended.
    RefreshReused = "refresh_reused",
    /// A token was refused.
    TokenRefused = "token_refused",
    /// A session was ended by itself.
    SignedOut = "signed_out",
    /// A session was ended by another one of its user.
    SessionRevoked = "session_revoked",
    /// Several sessions of a user were ended; `detail.sessions` says how many.
    SessionsRevoked = "sessions_revoked",
    /// Somebody who is logged in gave a wrong password where it is asked once more.
    ConfirmationFailed = "confirmation_failed",
    /// A link to set a new password was asked for.
    PasswordResetRequested = "password_reset_requested",
    /// The password is another one.
    PasswordChanged = "password_changed",
    /// The e-mail address is another one.
    EmailChanged = "email_changed",
    /// The e-mail address was shown to be its owner's.
    EmailVerified = "email_verified",
    /// An account at an identity provider signs in to this one from now on.
    IdentityLinked = "identity_linked",
    /// It does not any more.
    IdentityUnlinked = "identity_unlinked",
    /// A second factor, or a passkey, was added.
    SecondFactorAdded = "second_factor_added",
    /// One was removed.
    SecondFactorRemoved = "second_factor_removed",
    /// A second factor was not given, or wrong.
    SecondFactorFailed = "second_factor_failed",
    /// A socket was opened; once an hour for each session, address and space.
    SocketOpened = "socket_opened",
    /// A socket was closed because its session or its rights have ended.
    SocketClosed = "socket_closed",
    /// Something about a space was refused; `detail.asked` says what.
    AccessRefused = "access_refused",
    /// A limit on requests was hit.
    RateLimited = "rate_limited",
    /// A space was made.
    SpaceCreated = "space_created",
    /// A space was renamed, archived or taken out of the archive.
    SpaceChanged = "space_changed",
    /// A space was deleted.
    SpaceDeleted = "space_deleted",
    /// A space has another owner: the subject.
    SpaceTransferred = "space_transferred",
    /// A policy was replaced.
    PolicyChanged = "policy_changed",
    /// Somebody was invited.
    InviteCreated = "invite_created",
    /// An invite was taken back.
    InviteRevoked = "invite_revoked",
    /// Somebody became a member.
    InviteAccepted = "invite_accepted",
    /// A member, the subject, has another role.
    RoleChanged = "role_changed",
    /// A member, the subject, was removed.
    MemberRemoved = "member_removed",
    /// A member left.
    MemberLeft = "member_left",
    /// An account was exported.
    AccountExported = "account_exported",
    /// An account was deleted.
    AccountDeleted = "account_deleted",
    /// The keys that sign tokens have changed; noted by each instance that has taken them up.
    KeysRotated = "keys_rotated",
    /// A quota was set.
    QuotaSet = "quota_set",
    /// Events were dropped because more came than could be kept; `detail.events` says how many.
    EventsDropped = "events_dropped",
}

impl Kind {
    /// Whether it may be dropped first when more comes than can be kept: it says that all is as usual.
    #[must_use]
    pub const fn is_routine(self) -> bool {
        matches!(
            self,
            Self::TokenUsed
                | Self::TokenRefreshed
                | Self::TokenRefused
                | Self::SocketOpened
                | Self::AccessRefused
        )
    }
}

#[cfg(test)]
mod tests {
    use super::Kind;

    #[test]
    fn names_are_read_back_and_are_names() {
        for kind in Kind::ALL {
            let name = kind.as_str();
            assert_eq!(Kind::parse(name), Some(*kind));
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        }
        assert_eq!(Kind::parse("Sign_in"), None);
    }
}
