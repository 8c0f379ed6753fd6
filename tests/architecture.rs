//! Holds the house to its plan: imports go down only, special crates stay in their rooms, files stay short.
//!
//! Reads the source as text. The layers are those of the module docs in `lib.rs` and `pipeline/mod.rs`; a module may use
//! modules of its own layer's list or lower ones.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Lowest first. A module may use those before it, and itself.
const LAYERS: &[&[&str]] = &[
    &["timestamp", "error", "ranges", "packed"],
    // An event may carry a capture that was derived from it.
    &["event", "capture", "config", "database_url"],
    // Rows on their way: they know each other, and nothing above them.
    &["reject", "receipt", "budget", "chunk", "batch", "commits"],
    &["telemetry"],
    // A repository is made of a backend, and a backend answers a repository's questions; see the test below.
    // `maintenance` says what pruning reports, a backend does it, and only `maintenance` names backends for it.
    &["backend", "maintenance", "repository"],
    &["pipeline"],
    &["source"],
    &["server"],
];

/// Crates (or macros) and the only places where they may stand.
const ROOMS: &[(&str, &[&str])] = &[
    ("diesel", &["src/backend/"]),
    ("diesel_async", &["src/backend/mysql/"]),
    ("mysql_async", &["src/backend/mysql/"]),
    ("rustls", &["src/backend/mysql/", "src/source/", "src/server/", TRACES]),
    ("tokio_rustls", &["src/source/", "src/server/"]),
    ("bb8", &["src/backend/mysql/"]),
    ("tokio::runtime", &["src/backend/mysql/", "src/source/", "src/server/", "src/bin/"]),
    ("axum", &["src/server/"]),
    ("hyper", &["src/server/"]),
    ("metrics_process", &["src/server/"]),
    ("argon2", &["src/repository/", "src/backend/"]),
    ("glob::", &["src/source/"]),
    ("libc", &[LIVE]),
    ("libsqlite3_sys", &["tests/", "benches/", YARDSTICK]),
    // `src/bin/forebay/metrics.rs` is a module of the same name.
    ("metrics::", &["src/telemetry/", "src/bin/"]),
    ("counter!", &["src/telemetry/"]),
    ("gauge!", &["src/telemetry/"]),
    ("histogram!", &["src/telemetry/"]),
    ("metrics_exporter_prometheus", &["src/bin/", "src/server/"]),
    ("clap", &["src/bin/"]),
    ("opentelemetry", &[TRACES, "tests/"]),
    ("reqwest", &[TRACES]),
    ("indicatif", &["src/bin/"]),
    ("etherparse", &["src/source/"]),
    ("flate2", &["src/source/", "tests/"]),
    ("env::var", &["src/bin/", "tests/", "benches/"]),
];

/// The C calls that `forebay bench` compares us with: what is measured there is what one would write without us. A
/// yardstick only, never a way that a sensor's rows take, and so the one file of the source that may be unsafe.
const YARDSTICK: &str = "src/bin/forebay/bench/baseline.rs";

/// The program's spans on their way to a collector.
const TRACES: &str = "src/bin/forebay/traces.rs";

/// Live packets: the kernel's ring is shared memory, which only system calls and raw pointers reach.
const LIVE: &str = "src/source/live/";

const FORBIDDEN_MODULES: &[&str] = &["util", "utils", "helpers", "common", "models", "types", "misc"];
const MAX_LINES: usize = 500;

struct Source {
    path: String,
    /// Without comments, documentation and unit tests.
    code: String,
    lines: usize,
}

fn sources(root: &str) -> Vec<Source> {
    fn walk(dir: &Path, out: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).expect("a directory of the project") {
            let path = entry.expect("an entry").path();
            // What cargo builds of the fuzz targets.
            if path.is_dir() && !path.ends_with("fuzz/target") {
                walk(&path, out);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                out.push(path);
            }
        }
    }
    let base = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    walk(&base.join(root), &mut paths);
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a source file");
        let before_tests = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default().to_owned();
        let code: String = before_tests.lines().filter(|line| !line.trim_start().starts_with("//")).fold(
            String::new(),
            |mut code, line| {
                code.push_str(line);
                code.push('\n');
                code
            },
        );
        let path = path.strip_prefix(base).expect("inside the project").to_string_lossy().into_owned();
        Source { path, lines: before_tests.lines().count(), code }
    };
    let mut sources: Vec<_> = paths.into_iter().map(read).collect();
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!sources.is_empty());
    sources
}

fn layer_of() -> BTreeMap<&'static str, usize> {
    LAYERS.iter().enumerate().flat_map(|(layer, names)| names.iter().map(move |name| (*name, layer))).collect()
}

/// The first module of a path below `src/`.
fn module(path: &str) -> &str {
    path.trim_start_matches("src/").split(['/', '.']).next().unwrap_or_default()
}

#[test]
fn imports_go_down_only() {
    let layers = layer_of();
    let mut wrong = Vec::new();
    for source in
        sources("src").iter().filter(|source| !source.path.starts_with("src/bin/") && source.path != "src/lib.rs")
    {
        let here =
            *layers.get(module(&source.path)).unwrap_or_else(|| panic!("{} has no layer: give it one", source.path));
        for used in source.code.split("crate::").skip(1) {
            let name: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            match layers.get(name.as_str()) {
                Some(layer) if *layer <= here => {}
                Some(_) => wrong.push(format!("{} uses crate::{name}, which is above it", source.path)),
                None => wrong.push(format!("{} uses crate::{name}: name the module it comes from", source.path)),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_pure_parts_know_no_runtime_no_metrics_and_no_clock() {
    for source in sources("src") {
        if !["src/pipeline/batcher.rs", "src/pipeline/retry.rs", "src/ranges.rs", "src/source/link.rs"]
            .contains(&source.path.as_str())
        {
            continue;
        }
        for word in ["tokio", "telemetry", "Instant::now", "SystemTime", "fastrand", "std::fs", "std::thread"] {
            assert!(!source.code.contains(word), "{} knows {word}", source.path);
        }
    }
}

#[test]
fn only_open_names_concrete_backends() {
    for source in sources("src/pipeline") {
        let names = ["sqlite", "Sqlite", "mysql", "Mysql", "memory::", "Memory::"]
            .iter()
            .any(|name| source.code.contains(name));
        let config = source.path == "src/pipeline/queue.rs" && source.code.contains("Origin::Memory");
        assert!(!names || source.path == "src/pipeline/open.rs" || config, "{} names a backend", source.path);
    }
}

#[test]
fn only_the_factory_of_the_repository_names_backends() {
    for source in sources("src/repository").iter().filter(|source| source.path != "src/repository/open.rs") {
        // A re-export may depend on a feature; what it names may not.
        let lines = || source.code.lines().filter(|line| !line.trim_start().starts_with("#[cfg("));
        let names = ["crate::backend", "sqlite", "Sqlite"].iter().any(|name| lines().any(|line| line.contains(name)));
        assert!(!names, "{} names a backend", source.path);
    }
}

#[test]
fn special_crates_stay_in_their_rooms() {
    let mut wrong = Vec::new();
    for source in ["src", "tests", "benches"].into_iter().flat_map(sources) {
        if source.path == "tests/architecture.rs" {
            continue;
        }
        for (name, rooms) in ROOMS {
            let stands = source.code.match_indices(name).any(|(at, _)| {
                let before = source.code[..at].chars().next_back();
                !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':' || c == '.' || c == '"')
            });
            let elsewhere = !rooms.iter().any(|room| source.path.starts_with(room));
            if stands && elsewhere && source.path.starts_with("src/") {
                wrong.push(format!("{} knows {name}, which belongs to {rooms:?}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_program_sees_the_public_api_only() {
    let lib = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).expect("lib.rs");
    let public: Vec<_> = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    for source in sources("src/bin") {
        assert!(!source.code.contains("#[path"), "{} reaches into the library", source.path);
        for used in source.code.split("forebay::").skip(1) {
            let name: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let lower = name.chars().next().is_some_and(char::is_lowercase);
            assert!(!lower || public.contains(&name.as_str()), "{} uses forebay::{name}", source.path);
        }
    }
}

#[test]
fn files_are_short_and_well_named_and_unsafe_is_explained() {
    for source in ["src", "tests", "benches"].into_iter().flat_map(sources) {
        assert!(source.lines <= MAX_LINES, "{} has {} lines", source.path, source.lines);
        let stem = Path::new(&source.path).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        assert!(!FORBIDDEN_MODULES.contains(&stem), "{}: find the noun", source.path);
        let unsafe_blocks = source.code.contains("unsafe {") || source.code.contains("unsafe impl");
        let allowed = !source.path.starts_with("src/") || source.path == YARDSTICK || source.path.starts_with(LIVE);
        assert!(!unsafe_blocks || allowed, "{} has unsafe code", source.path);
    }
}

#[test]
fn no_test_is_switched_off_and_nothing_is_left_to_do() {
    for source in ["src", "tests", "benches"].into_iter().flat_map(sources) {
        if source.path == "tests/architecture.rs" {
            continue;
        }
        for word in ["#[ignore", "todo!(", "unimplemented!(", "FIXME", "XXX"] {
            assert!(!source.code.contains(word), "{} has {word}", source.path);
        }
    }
}

#[test]
fn the_readme_lists_every_metric_and_every_setting_and_no_other() {
    let base = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| fs::read_to_string(base.join(path)).expect("a file of the project");
    let words = |text: &str, beginning: &str| -> std::collections::BTreeSet<String> {
        let names = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        names.filter(|name| name.starts_with(beginning)).map(str::to_owned).collect()
    };
    let readme = read("README.md");
    let files = fs::read_dir(base.join("src/telemetry")).expect("a folder of the project");
    let names = files.map(|file| file.expect("an entry").file_name().to_string_lossy().into_owned());
    let described: String = names.map(|name| read(&format!("src/telemetry/{name}"))).collect();
    let metrics = words(&described, "forebay_");
    assert_eq!(words(&readme, "forebay_"), metrics);
    for metric in &metrics {
        assert!(described.matches(metric.as_str()).count() >= 2, "{metric} has no help text, or is never set");
    }
    for line in read("src/config.rs").lines().filter_map(|line| line.trim().strip_prefix("pub ")) {
        let Some((field, _)) = line.split_once(": ").filter(|(field, _)| !field.contains([' ', '('])) else { continue };
        let known = readme.contains(&format!(".{field}`"))
            || ["batch", "buffer", "retry", "sqlite", "mysql", "retention", "events", "captures"].contains(&field);
        assert!(known, "README.md does not list the setting {field}");
    }
}
