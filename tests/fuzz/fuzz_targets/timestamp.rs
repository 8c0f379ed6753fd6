#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| forebay_fuzz::targets::run("timestamp", input));
