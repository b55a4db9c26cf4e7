//! Histories that must converge: many, and by name those that once did not.
//!
//! A seed draws other steps whenever the simulation changes what it draws. Those below named `Single` and `Shared` were found when it
//! played a copy of the server's sessions: they must converge as any, but no longer play the fault that their name tells. What shows that
//! a rule is needed today is `mutations.rs`.

use lattice_sim::config::Kind;
use lattice_sim::runner::{run_many, run_one};

/// Histories of a test run: in every third people share spaces, in every second are the clients that exist. `cargo run --release -p lattice-sim -- --seeds 0..1000000` plays more.
const HISTORIES: u64 = 10_000;

#[test]
fn ten_thousand_histories_converge() {
    let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let outcome = run_many(0..HISTORIES, None, jobs, false);
    assert_eq!(outcome.failures, []);
    assert_eq!(outcome.histories, HISTORIES);
}

#[test]
fn a_seed_always_plays_the_same_history() {
    let histories = [
        (3, Kind::Single),
        (119, Kind::Single),
        (4_718, Kind::Single),
        (57, Kind::Shared),
        (437, Kind::Shared),
    ];
    for (seed, kind) in histories {
        let (trace, result) = run_one(seed, kind, true);
        assert!(trace.len() > 50 && result.is_ok(), "{result:?}");
        assert_eq!(run_one(seed, kind, true).0, trace);
    }
}

macro_rules! regressions {
    ($($(#[doc = $what:literal])* $name:ident: $kind:ident $seed:literal,)*) => {$(
        $(#[doc = $what])*
        #[test]
        fn $name() {
            let (_, result) = run_one($seed, Kind::$kind, false);
            assert!(result.is_ok(), "seed {}: {result:?}", $seed);
        }
    )*};
}

regressions! {
    /// A change that a client of another space made under the same id became the checkpoint of one before 1.4.
    older_clients_are_handed_no_checkpoint_of_another_space: Mixed 3326,
    /// The DELETE of a link was dropped with its delivery, which named a table that an old client does not have; the link that took
    /// its pair was refused then.
    a_link_behind_a_dropped_deletion_is_let_pass: Mixed 1842,
    /// A device of one user handed to a device of another what that one may not see.
    what_another_user_hands_over_is_not_compared: SharedMixed 719,
    /// A pull that was read before an upload was committed answered its verdict with values older than the upload.
    a_verdict_is_not_answered_by_an_older_snapshot: Single 163,
    /// A refused or stale change had set a column that the server's row does not have: the correction did not undo it.
    a_correction_undoes_columns_that_the_row_does_not_have: Single 157,
    /// Fields of UPDATEs that came before the INSERT were kept, and its sender, who named fewer columns, was not told.
    the_inserter_is_sent_fields_that_were_kept_for_it: Single 4718,
    /// A link row was refused for naming another pair than before; the live link of that pair had failed on the client
    /// meanwhile and was never sent again.
    a_refused_link_gives_way_to_the_live_link_of_the_pair_it_named: Single 229,
    /// A correction gave a link row back before the stream had sent the DELETE of the row that held its pair: it could not
    /// be applied, and was never sent again because the connection had inserted it itself.
    a_link_row_that_could_not_be_given_back_is_sent_again: Single 22951,
    /// A refused change was sent twice. The second answer took its row away for a moment, in which the client died; the
    /// first answer had its ack, so the client did not ask a third time.
    a_client_that_dies_between_delete_and_insert_gets_the_row_back: Single 72382,
    /// A refused link row named a pair that was never linked; the row that linked it next was sent with the correction, to
    /// the client that had inserted and by then deleted it, without being shared.
    a_pair_that_a_refused_link_named_is_shared_from_then_on: Single 219280,
    /// An UPDATE came after a DELETE; before its sender was told, somebody made the row again without that column, and the
    /// sender kept it.
    columns_of_an_update_that_a_tombstone_outlived_are_undone: Single 56113,
    /// A link row that was deleted had been known under two pairs: the live link of only one of them was sent again.
    a_link_row_of_two_pairs_gives_way_to_both_links: Single 163832,
    /// A change that turned out to need a correction only when it was sent for the third time joined the end of the queue
    /// then, and the driver counted its pulls from the second.
    a_late_correction_is_waited_for_from_when_it_is_due: Single 130875,
    /// A refused change that was sent again while it waited for its verdict was put into the queue once more.
    one_verdict_waits_for_each_refused_change: Single 133,
    /// An upload was taken by a new policy while its stream still had the old view, so it was not answered; in a private space
    /// nobody knew that its sender holds the row, which the new view does not show.
    a_row_of_a_private_space_is_its_owners_own_whenever_it_was_made: Shared 1703,
    /// A client died in the first frame of another view, in which a row was taken back, and came again with its checkpoint of
    /// the view before, which shows the row: it was not sent.
    views_that_are_newer_than_the_checkpoint_count: Shared 765,
    /// A client died before it saved its checkpoint and came again; before its new stream had sent anything its view changed,
    /// and a row that the stream knew nothing of was not taken back.
    what_was_shown_before_a_stream_began_is_taken_back_too: Shared 14986,
    /// An upload over HTTP was taken by a policy that its request had not looked at: that its sender had been shown as much was
    /// remembered by nobody.
    rights_are_looked_at_before_an_upload_over_http_is_answered: Shared 29919,
    /// An upload was taken while everything was shown, so not to be answered with current values, and stored when a filter had been set:
    /// its row was neither corrected nor taken back.
    a_view_waits_for_what_was_taken_in_the_one_before: Shared 2689,
    /// A client that polls one page at a time was sent back to the first page of its way to another view each time: another
    /// view had been shown at seqs that it had not reached.
    a_poll_on_its_way_to_another_view_leads_on: Shared 24,
    /// An INSERT without columns was acknowledged and not answered, though its row had been taken back meanwhile.
    an_insert_without_columns_is_answered_like_any_other: Shared 144147,
    /// A snapshot of somebody else's row, equal to it, was acknowledged without an answer by a server that does not show the
    /// row to its sender.
    a_snapshot_in_a_shared_space_is_always_answered: Shared 125292,
    /// A client that polls had polled up to the head when a policy took a row from it, which moved no head: it never asked again.
    whoever_polls_asks_again_when_rights_have_changed: Shared 346566,
    /// An upload held a change twice; the one was acknowledged at once, the other waited as a duplicate, and was not counted.
    a_change_that_is_twice_in_an_upload_waits_once: Shared 846420,
    /// A policy was changed in a group commit of another space after a client had polled for the last time: it looked only at
    /// the head, which had not moved, and missed the rows that it might see from then on.
    one_polls_again_when_access_has_changed: Shared 386325,
    /// The same with a policy that had hidden others' links from whoever polled.
    one_polls_again_when_a_policy_hides_no_more: Shared 996492,
    /// An upload came before its sender was let into the space, and was refused; a later one that was under way already came
    /// after, and was taken. When the first was sent again its older value won, and its sender kept the newer one.
    an_upload_that_was_overtaken_is_answered_with_what_has_won: Shared 291360,
}
