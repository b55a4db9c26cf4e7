//! Counting attempts to sign in with a password, before anything is done for them.

use std::net::IpAddr;

use super::problem::Problem;
use super::state::AppState;
use crate::limits::{Class, is_near};

/// Counts an attempt to sign in to the account with this e-mail address, whether or not there is one. Who guesses from
/// everywhere uses up what the account is allowed; so its owner is not locked out, attempts from a network from which somebody
/// is signed in to it already are allowed as much once more, counted by themselves.
pub(super) async fn sign_in(state: &AppState, email: &str, address: Option<IpAddr>) -> Result<(), Problem> {
    state.limits.address(Class::SignInAddress, address).await?;
    let Err(limited) = state.limits.email(Class::SignInAccount, email).await else { return Ok(()) };
    match address {
        Some(address) if state.auth.is_signed_in_from(email, |known| is_near(known, address)).await? => {
            Ok(state.limits.email_from(Class::SignInAccount, email, address).await?)
        }
        _ => Err(limited.into()),
    }
}
