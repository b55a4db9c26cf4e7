//! The settings of limits.

use clap::Args;

use super::Class;
use super::rate::Rate;
use super::uploads::UploadRates;

/// How often anybody may try. Each is `off`, or an amount and seconds like `20/900s`: so much in such a time, all of it at once
/// if need be.
#[derive(Args, Clone, Copy, Debug)]
pub struct LimitSettings {
    /// Sign-ins from one address (IPv6: one /64).
    #[arg(long, env = "RATE_SIGN_IN_ADDRESS", default_value_t = Rate::new(100, 300))]
    pub rate_sign_in_address: Rate,
    /// Sign-ins to one account, and other checks of its password, from wherever.
    #[arg(long, env = "RATE_SIGN_IN_ACCOUNT", default_value_t = Rate::new(50, 900))]
    pub rate_sign_in_account: Rate,
    /// New accounts from one address.
    #[arg(long, env = "RATE_SIGN_UP_ADDRESS", default_value_t = Rate::new(50, 3_600))]
    pub rate_sign_up_address: Rate,
    /// Links by e-mail asked for from one address.
    #[arg(long, env = "RATE_MAIL_ADDRESS", default_value_t = Rate::new(20, 3_600))]
    pub rate_mail_address: Rate,
    /// Links by e-mail asked for one account.
    #[arg(long, env = "RATE_MAIL_ACCOUNT", default_value_t = Rate::new(5, 3_600))]
    pub rate_mail_account: Rate,
    /// Refreshes from one address.
    #[arg(long, env = "RATE_REFRESH_ADDRESS", default_value_t = Rate::new(600, 60))]
    pub rate_refresh_address: Rate,
    /// Refreshes of one session.
    #[arg(long, env = "RATE_REFRESH_SESSION", default_value_t = Rate::new(60, 60))]
    pub rate_refresh_session: Rate,
    /// Sync sockets opened from one address.
    #[arg(long, env = "RATE_HANDSHAKE_ADDRESS", default_value_t = Rate::new(1_200, 60))]
    pub rate_handshake_address: Rate,
    /// Sync sockets opened by one account.
    #[arg(long, env = "RATE_HANDSHAKE_ACCOUNT", default_value_t = Rate::OFF)]
    pub rate_handshake_account: Rate,
    /// Changes that one account uploads to one instance; above it, its sockets are read more slowly.
    #[arg(long, env = "RATE_UPLOAD_CHANGES_ACCOUNT", default_value_t = Rate::OFF)]
    pub rate_upload_changes_account: Rate,
    /// Bytes that one account uploads to one instance; above it, its sockets are read more slowly.
    #[arg(long, env = "RATE_UPLOAD_BYTES_ACCOUNT", default_value_t = Rate::OFF)]
    pub rate_upload_bytes_account: Rate,
    /// Changes that one session uploads to one instance.
    #[arg(long, env = "RATE_UPLOAD_CHANGES_SESSION", default_value_t = Rate::OFF)]
    pub rate_upload_changes_session: Rate,
    /// Bytes that one session uploads to one instance.
    #[arg(long, env = "RATE_UPLOAD_BYTES_SESSION", default_value_t = Rate::OFF)]
    pub rate_upload_bytes_session: Rate,
}

impl LimitSettings {
    pub(super) fn rate(&self, class: Class) -> Rate {
        match class {
            Class::SignInAddress => self.rate_sign_in_address,
            Class::SignInAccount => self.rate_sign_in_account,
            Class::SignUpAddress => self.rate_sign_up_address,
            Class::MailAddress => self.rate_mail_address,
            Class::MailAccount => self.rate_mail_account,
            Class::RefreshAddress => self.rate_refresh_address,
            Class::RefreshSession => self.rate_refresh_session,
            Class::HandshakeAddress => self.rate_handshake_address,
            Class::HandshakeAccount => self.rate_handshake_account,
        }
    }

    pub(super) fn uploads(&self) -> UploadRates {
        UploadRates {
            account_changes: self.rate_upload_changes_account,
            account_bytes: self.rate_upload_bytes_account,
            session_changes: self.rate_upload_changes_session,
            session_bytes: self.rate_upload_bytes_session,
        }
    }
}
