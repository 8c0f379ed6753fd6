//! What is measured of this machine and this process, as far as `/proc` tells (`proc(5)`).

use serde_json::{Value, json};

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Names processor, cores, memory and system.
pub fn text() -> String {
    let memory = memory().map_or_else(String::new, |bytes| format!(", {:.1} GiB memory", bytes as f64 / GIB));
    let build = if cfg!(debug_assertions) { ", DEBUG BUILD: figures mean nothing" } else { "" };
    format!("{} x {}{memory}, {}{build}", cores(), processor(), system())
}

pub fn json() -> Value {
    json!({
        "processor": processor(), "cores": cores(), "memory_bytes": memory(), "system": system(),
        "debug_build": cfg!(debug_assertions),
    })
}

const GIB: f64 = (1 << 30) as f64;

fn processor() -> String {
    let cpus = read("/proc/cpuinfo");
    let name = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or_else(|| "unknown processor".into(), |(_, name)| name.to_owned())
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(0, usize::from)
}

fn memory() -> Option<u64> {
    kib(&read("/proc/meminfo"), "MemTotal:")
}

fn system() -> String {
    format!("{} {}", std::env::consts::OS, read("/proc/sys/kernel/osrelease").trim())
}

/// User and system time of this process so far, in ticks of 1/100 s; 0 where there is no such file.
pub fn cpu_seconds() -> f64 {
    let stat = read("/proc/self/stat");
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok());
    ticks.sum::<u64>() as f64 / 100.0
}

/// Most memory that this process had since [`forget_peak_memory`], in bytes.
pub fn peak_memory() -> Option<u64> {
    kib(&read("/proc/self/status"), "VmHWM:")
}

/// Begins to look for the peak anew. Where the kernel does not let us, the peak stays that of the whole process.
pub fn forget_peak_memory() {
    // See above.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

fn kib(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib << 10)
}
