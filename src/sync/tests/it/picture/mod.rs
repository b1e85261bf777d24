//! What a client makes of many answers is what a fresh one is told at once, and what a plain model says.
//!
//! Random requests of four users in three rooms; their clients sync with filters, limits and lost answers in between and
//! close gaps by paging. `PROPTEST_CASES` sets how many histories are tried; a history that fails is made as short as
//! can be, printed, and its seed is kept in `picture/mod.proptest-regressions`, which is tried first from then on.

mod act;
mod client;
mod compare;
mod model;
mod steps;

use proptest::prelude::*;

use act::History;
use steps::{Step, coming_and_going, step};

/// How many histories are tried when nobody says.
const CASES: u32 = 64;
/// How many things happen in one.
const STEPS_MAX: usize = 70;

fn run(steps: Vec<Step>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut history = History::new().await;
        for step in steps.iter().chain([&Step::Check]) {
            history.act(step).await;
        }
    });
}

fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    let is_set = std::env::var_os("PROPTEST_CASES").is_some();
    ProptestConfig {
        cases: if is_set { default.cases } else { CASES },
        max_shrink_iters: 2_000,
        ..default
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn incremental_answers_add_up_to_an_initial_one_and_to_the_model(
        steps in prop::collection::vec(step(), 1..STEPS_MAX)
    ) {
        run(steps);
    }

    #[test]
    fn s13_no_word_of_a_room_is_heard_by_those_who_may_not_see_it(
        steps in prop::collection::vec(coming_and_going(), 1..STEPS_MAX)
    ) {
        run(steps);
    }
}
