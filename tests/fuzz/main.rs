//! Every parser with hostile input: each fuzz target over its corpus, then over a bounded number of mutations of it.
//!
//! `targets.rs` says what is claimed of each parser; the crate in this folder lets libFuzzer drive the same functions for
//! as long as one likes: `RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir tests/fuzz eve -- -max_total_time=600`. Here the
//! mutations are always the same, so that a failure is one for everybody; `FOREBAY_FUZZ_SEED` chooses others and
//! `FOREBAY_FUZZ_ROUNDS` how many. An input that fails is left in a file: it belongs into the corpus of its target.
//!
//! The tests that stand in the files which `source/` includes run here once more; they take no time.
#![cfg(feature = "cli")]

mod mutation;
mod pieces;
mod source;
mod targets;

use std::collections::BTreeSet;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::{env, fs};

use mutation::Mutator;
use source::{capture, timestamp};

const SEED: u64 = 1;
/// Mutations of each target, and bytes of them: whichever is reached first.
const ROUNDS: u64 = 20_000;
const BYTES: usize = 2 << 20;
/// Mutations of the target that decompresses: a few hundred bytes come to a hundred thousand there.
const ROUNDS_PACKED: u64 = 2_000;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz")
}

/// Names of what is in a folder, without their endings.
fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect()
}

fn number(name: &str, otherwise: u64) -> u64 {
    env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

/// The inputs of a target, in the order of their names: what is drawn must not depend on the file system.
fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = folder().join("corpus").join(target);
    let mut inputs: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("an entry").path())
        // What libFuzzer adds is named by its hash, and is not kept.
        .filter(|path| path.extension().is_some())
        .map(|path| (path.clone(), fs::read(&path).expect("an input")))
        .collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "{} is empty", folder.display());
    inputs
}

/// Runs one input; if it fails, keeps it and says how to try it again.
fn run(target: &str, input: &[u8], what: &dyn Fn() -> String) {
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| targets::run(target, input)));
    if let Err(panic) = outcome {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{target}.failed"));
        let kept = fs::write(&path, input).map_or_else(|error| error.to_string(), |()| path.display().to_string());
        eprintln!("target {target} fails on {}; the input is kept in {kept}:\n{}", what(), input.escape_ascii());
        panic::resume_unwind(panic);
    }
}

fn holds(target: &str) {
    let inputs = corpus(target);
    for (path, input) in &inputs {
        run(target, input, &|| path.display().to_string());
    }
    let seed = number("FOREBAY_FUZZ_SEED", SEED);
    let usual = if target == "beginning" { ROUNDS_PACKED } else { ROUNDS };
    let rounds = number("FOREBAY_FUZZ_ROUNDS", usual);
    println!("{target}: seed {seed}, {} inputs", inputs.len());
    let mut mutator = Mutator::new(seed, inputs.into_iter().map(|(_, input)| input).collect());
    let mut bytes = 0;
    for round in 0..rounds {
        let input = mutator.next_input();
        bytes += input.len();
        if rounds == usual && bytes > BYTES {
            break;
        }
        run(target, &input, &|| format!("mutation {round} of seed {seed}"));
    }
}

/// A test for each target.
macro_rules! every_claim_holds_for {
    ($($target:ident)*) => {
        mod every_claim_holds_for {
            $(#[test]
            fn $target() {
                super::holds(stringify!($target));
            })*
        }

        const TESTED: &[&str] = &[$(stringify!($target)),*];
    };
}

every_claim_holds_for! {
    beginning pcap pcap_write link filter lines detect eve zeek_json zeek_tsv cowrie decnet syslog ndjson
    frames_lines frames_length frames_syslog message expression field_path database_url settings words timestamp
}

#[test]
fn every_target_has_a_test_a_corpus_and_a_program_for_libfuzzer() {
    let known: BTreeSet<String> = targets::ALL.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(TESTED.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>(), known);
    assert_eq!(names(&folder().join("corpus")), known);
    assert_eq!(names(&folder().join("fuzz_targets")), known);
    let manifest = fs::read_to_string(folder().join("Cargo.toml")).expect("a manifest");
    for name in &known {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name} is not in Cargo.toml");
        let program = fs::read_to_string(folder().join("fuzz_targets").join(format!("{name}.rs"))).expect("a program");
        assert!(program.contains(&format!("run(\"{name}\"")), "{name} runs another target");
    }
}
