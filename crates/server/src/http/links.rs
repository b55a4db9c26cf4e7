//! What is done by links in e-mails. Opening a link changes nothing, since scanners of mail open every one: it shows a page with a
//! button, and the button does it. Apps that take links themselves send the token as JSON to the same address.

pub(super) mod change_email;
pub(super) mod change_password;
pub(super) mod page;
pub(super) mod reset;
pub(super) mod send_email_change;
pub(super) mod send_reset;
pub(super) mod send_verification;
pub(super) mod verify;
