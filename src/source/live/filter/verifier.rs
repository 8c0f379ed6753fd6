//! The kernel's own rules for a program (`bpf_check_classic` in `net/core/filter.c`), asked before it is. Pure.
//!
//! The kernel says of a program only that it does not take it, and says so when the socket is opened; here a listing that
//! was cut or mistyped is refused when the settings are checked, with the number of the instruction. Of what we compile
//! ourselves it must never refuse anything: debug builds, and so tests and fuzzing, stop there.

use super::assembly::ANCILLARY;
use super::{Instruction, MAX_INSTRUCTIONS};

/// Cells of the machine's memory (`BPF_MEMWORDS`).
const CELLS: u32 = 16;
/// What the kernel knows beside a packet (`SKF_AD_*`), as distances from [`ANCILLARY`]: in steps of four, below this (`SKF_AD_MAX`).
const ANCILLARY_END: u32 = 64;

/// Tells which instruction the kernel would not take, counted from 1, and why.
pub(super) fn check(program: &[Instruction]) -> Result<(), String> {
    let ends_well = program.last().is_some_and(|last| matches!(last.code, 0x06 | 0x16));
    if program.len() > MAX_INSTRUCTIONS || !ends_well {
        return Err(format!("it has 1 to {MAX_INSTRUCTIONS} instructions, and ends with a return"));
    }
    // Of each instruction, which cells have been written on every way to it; all, if no way was found yet.
    let mut written = vec![u16::MAX; program.len()];
    let mut here = 0;
    for (at, instruction) in program.iter().enumerate() {
        let fault = |what: &str| Err(format!("instruction {}: {what}", at + 1));
        let Instruction { code, yes, no, k } = *instruction;
        let behind = program.len() - at - 1;
        here &= written[at];
        match code {
            // Loads from the packet: absolute, indirect, the length of an IP header.
            0x20 | 0x28 | 0x30 if k >= ANCILLARY && !(k - ANCILLARY < ANCILLARY_END && k.is_multiple_of(4)) => {
                return fault("the kernel knows nothing by this number");
            }
            0x20 | 0x28 | 0x30 | 0x40 | 0x48 | 0x50 | 0xb1 => {}
            // Constants, the length; sums without a fault; copies between the registers.
            0x00 | 0x01 | 0x80 | 0x81 => {}
            0x04 | 0x0c | 0x14 | 0x1c | 0x24 | 0x2c | 0x3c | 0x44 | 0x4c | 0x54 | 0x5c | 0x6c | 0x7c => {}
            0x84 | 0x9c | 0xa4 | 0xac | 0x07 | 0x87 => {}
            0x34 | 0x94 if k == 0 => return fault("it divides by zero"),
            0x64 | 0x74 if k >= 32 => return fault("it shifts by 32 bits or more"),
            0x34 | 0x94 | 0x64 | 0x74 => {}
            0x60 | 0x61 | 0x02 | 0x03 if k >= CELLS => return fault("there is no such cell"),
            0x60 | 0x61 if here & (1 << k) == 0 => return fault("it reads a cell that may not have been written"),
            0x60 | 0x61 => {}
            0x02 | 0x03 => here |= 1 << k,
            0x05 => match usize::try_from(k).ok().filter(|k| *k < behind) {
                Some(far) => {
                    written[at + 1 + far] &= here;
                    here = u16::MAX;
                }
                None => return fault("it jumps behind the end"),
            },
            0x15 | 0x1d | 0x25 | 0x2d | 0x35 | 0x3d | 0x45 | 0x4d => {
                for far in [yes, no].map(usize::from) {
                    if far >= behind {
                        return fault("it jumps behind the end");
                    }
                    written[at + 1 + far] &= here;
                }
                here = u16::MAX;
            }
            0x06 | 0x16 => {}
            _ => return fault("there is no such code"),
        }
    }
    Ok(())
}
