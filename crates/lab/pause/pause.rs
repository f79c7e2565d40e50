//! `pause`: the first process of every pod. It holds the pod's network, IPC and host name, and
//! outlives the containers that share them.
//!
//! It is process 1 of its PID namespace, so it also buries orphans. It ends, with status 0, when
//! it is asked to (SIGTERM, SIGINT); as process 1 it takes whatever shares its PID namespace along.
//!
//! No standard library, no allocation, one page of code: a node may hold hundreds of these.
//! Signals are blocked and waited for rather than handled, because the kernel never discards a
//! blocked signal, not even for process 1, and because a handler would need a trampoline.

#![no_std]
#![no_main]

use core::arch::{asm, global_asm};

const SIGINT: usize = 2;
const SIGTERM: usize = 15;
const SIGCHLD: usize = 17;
const SIG_BLOCK: usize = 0;
const WNOHANG: usize = 1;
const PR_SET_NAME: usize = 15;
/// Size in bytes of the kernel's signal set.
const SET_SIZE: usize = 8;

#[cfg(target_arch = "x86_64")]
mod number {
    pub const RT_SIGPROCMASK: usize = 14;
    pub const RT_SIGTIMEDWAIT: usize = 128;
    pub const WAIT4: usize = 61;
    pub const PRCTL: usize = 157;
    pub const EXIT_GROUP: usize = 231;
}

#[cfg(target_arch = "aarch64")]
mod number {
    pub const RT_SIGPROCMASK: usize = 135;
    pub const RT_SIGTIMEDWAIT: usize = 137;
    pub const WAIT4: usize = 260;
    pub const PRCTL: usize = 167;
    pub const EXIT_GROUP: usize = 94;
}

#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "and rsp, -16",
    "call {main}",
    main = sym main
);

#[cfg(target_arch = "aarch64")]
global_asm!(".globl _start", "_start:", "mov x29, #0", "b {main}", main = sym main);

extern "C" fn main() -> ! {
    let set: u64 = bit(SIGINT) | bit(SIGTERM) | bit(SIGCHLD);
    let set_at = &raw const set as usize;
    // A fixed name in `ps`, wherever the file it was executed from is.
    let name = *b"pause\0";
    call(number::PRCTL, [PR_SET_NAME, &raw const name as usize, 0, 0]);
    call(number::RT_SIGPROCMASK, [SIG_BLOCK, set_at, 0, SET_SIZE]);
    bury();
    loop {
        match call(number::RT_SIGTIMEDWAIT, [set_at, 0, 0, SET_SIZE]) as usize {
            SIGINT | SIGTERM => loop {
                call(number::EXIT_GROUP, [0; 4]);
            },
            // SIGCHLD, or an interruption (EINTR), after which looking again does no harm.
            _ => bury(),
        }
    }
}

const fn bit(signal: usize) -> u64 {
    1 << (signal - 1)
}

/// Collects every child that has ended. One signal may stand for many.
fn bury() {
    const ANY: usize = usize::MAX;
    while call(number::WAIT4, [ANY, 0, WNOHANG, 0]) > 0 {}
}

/// A system call; negative results are error numbers.
fn call(number: usize, arguments: [usize; 4]) -> isize {
    let result: isize;
    // SAFETY: each caller passes what its call reads: numbers, or addresses of locals that live
    // across it. No call here writes memory (every out pointer is null).
    // WHY: there is no C library in this program.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") arguments[0],
            in("rsi") arguments[1],
            in("rdx") arguments[2],
            in("r10") arguments[3],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack)
        );
    }
    // SAFETY: as above.
    // WHY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") arguments[0] => result,
            in("x1") arguments[1],
            in("x2") arguments[2],
            in("x3") arguments[3],
            options(nostack)
        );
    }
    result
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        call(number::EXIT_GROUP, [1, 0, 0, 0]);
    }
}
