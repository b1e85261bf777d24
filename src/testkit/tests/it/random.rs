//! Random acts on five servers; `SIM_SEEDS`, `SIM_FIRST`, `SIM_ACTS` and `SIM_WEIGHTS` choose others (CONTRIBUTING.md).

use std::str::FromStr;

use hearth_testkit::{Sim, Weights};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How many servers, and how many rooms.
const WORLD: (usize, usize) = (5, 3);
/// Random acts of one simulation.
const ACTS: usize = 200;
/// How many simulations are run when nobody says, and the seed of the first: the same ones each time, so that a run says
/// something of the change at hand.
const SEEDS: u64 = 1;
const FIRST: u64 = 1;
/// Seeds that once ended badly: 12 when history was fetched from before what may be seen, 107 and 189 when a server did not
/// learn that its last user was kicked (by somebody whose power it had not heard of), 129 when clients were not told of
/// the rest of a room's state, 1331 when catching up a server was told that its last user left and not that the one before
/// was kicked, 1382 when resolution took an invite away, 2160 when an invite was forgotten by its sender, 3036 when a leave
/// was not before the join after it, 3876 when a ban waited for what was kept from its server, 4185 and 4474 when a part of a
/// state was answered for the whole, 4417 when what was refused and is not any more was not told, 6135 when a
/// server had another state before its own join than all others, 9022 when a client was told what had been the state on a
/// branch, 9258 when resolution brought back a user who had left, 10731 when a server had to soft-fail its own ban, 10841
/// and 12281 when a leave was forgotten, or one kept that was not told, while members were left out, 13775 when a room was
/// left and entered again before its state was whole, 13258 when an end of the graph was taken away and its state stayed,
/// 16013 when a timeline was cut to nothing, 19317 when who was kicked was in the room again for her server alone.
const KEPT: [u64; 24] = [
    12, 107, 129, 189, 1257, 1331, 1382, 1511, 2160, 3036, 3876, 4185, 4417, 4474, 6135, 9022,
    9258, 10731, 10841, 12281, 13258, 13775, 16013, 19317,
];

fn setting<T: FromStr>(name: &str, default: T) -> T {
    let Ok(value) = std::env::var(name) else {
        return default;
    };
    let parsed = value.parse().ok();
    parsed.unwrap_or_else(|| panic!("{name}={value} is not what it has to be"))
}

fn log() {
    if std::env::var_os("SIM_LOG").is_none() {
        return;
    }
    let filter = setting("SIM_LOG", Targets::new());
    let lines = tracing_subscriber::fmt::layer().with_test_writer();
    let log = tracing_subscriber::registry().with(filter).with(lines);
    // Another test may have begun before.
    let _begun = log.try_init().err();
}

/// What is wrong in the end, with what happened before.
fn run(seed: u64, world: (usize, usize), (acts, weights): (usize, Weights)) -> Vec<String> {
    log();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime can be built");
    runtime.block_on(async {
        let mut sim = Sim::new(seed, world, weights).await;
        for number in 0..acts {
            sim.act(number).await;
        }
        let wrong = sim.settle().await;
        if !wrong.is_empty() {
            println!(
                "seed {seed}, {acts} acts, {weights:?}:\n{}\n",
                sim.story.join("\n")
            );
        } else if setting("SIM_STORY", 0) > 0 {
            println!("{}\n{} requests", sim.story.join("\n"), sim.net.requests());
        }
        wrong
    })
}

fn weights() -> Weights {
    let wanted = setting("SIM_WEIGHTS", String::new());
    if wanted.is_empty() {
        return Weights::ROUGH;
    }
    let numbers: Vec<u64> = wanted
        .split(',')
        .map(|number| number.parse().expect("SIM_WEIGHTS=FAULTS,CUTS,CRASHES"))
        .collect();
    Weights {
        faults: numbers[0],
        cuts: numbers[1],
        crash: numbers[2],
    }
}

#[test]
fn servers_agree_after_random_acts_when_all_is_well_again() {
    let first = setting("SIM_FIRST", FIRST);
    let acts = setting("SIM_ACTS", ACTS);
    let world = (
        setting("SIM_SERVERS", WORLD.0),
        setting("SIM_ROOMS", WORLD.1),
    );
    let mut failed = Vec::new();
    for seed in first..first + setting("SIM_SEEDS", SEEDS) {
        let wrong = run(seed, world, (acts, weights()));
        match wrong.is_empty() {
            true => println!("seed {seed}: all agree"),
            false => {
                println!("seed {seed}: {wrong:#?}");
                failed.push(seed);
            }
        }
    }
    assert!(failed.is_empty(), "seeds {failed:?}");
}

#[test]
fn servers_agree_after_the_random_acts_that_once_set_them_apart() {
    for seed in KEPT {
        let wrong = run(seed, WORLD, (ACTS, Weights::ROUGH));
        assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}");
    }
}

/// As many as planted faults are to be found by (`tests/faults/sim_*.patch`).
#[test]
#[ignore = "takes minutes"]
fn a_hundred_seeds() {
    for seed in 1_000..1_100 {
        let wrong = run(seed, WORLD, (ACTS, Weights::ROUGH));
        assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}");
    }
}
