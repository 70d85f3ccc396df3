//! What the allocator does with freed memory.

/// What glibc's allocator does with memory that is freed.
///
/// It is a setting of the **whole process**, whoever sets it: choose one at the start of a program, before models are loaded. A
/// program that does both, for instance training on its own answers, takes [`Keep`](Self::Keep). Libraries never set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FreedMemory {
    /// Keeps it: no `mmap` for large blocks, no trimming of the heap. For training, which frees and allocates the same few sizes
    /// thousands of times: with glibc's defaults each new tensor is faulted in page by page, which doubles the time of a step.
    Keep,
    /// Returns large blocks, those from 64 KiB on, to the system. For inference: glibc's default raises that limit to the largest
    /// block that was freed, and the buffers of a long prompt then come from the heap, which keeps what lies between those that
    /// live on.
    Return,
}

impl FreedMemory {
    /// Sets it for this process; the last call counts. Elsewhere than on Linux with glibc it does nothing. Returns whether the
    /// setting was accepted.
    pub fn apply_to_process(self) -> bool {
        #[cfg(all(target_os = "linux", target_env = "gnu"))]
        {
            // Each sets all three, so that nothing is left of a call before it. 65,536 maps and 128 KiB are glibc's defaults.
            let settings = match self {
                Self::Keep => [(libc::M_MMAP_MAX, 0), (libc::M_TRIM_THRESHOLD, libc::c_int::MAX), (libc::M_MMAP_THRESHOLD, 128 << 10)],
                Self::Return => [(libc::M_MMAP_MAX, 65_536), (libc::M_TRIM_THRESHOLD, 128 << 10), (libc::M_MMAP_THRESHOLD, 64 << 10)],
            };
            #[expect(unsafe_code, reason = "mallopt is C")]
            // SAFETY: mallopt takes two integers, touches only malloc's own parameters and takes malloc's lock.
            let set = |(parameter, value)| unsafe { libc::mallopt(parameter, value) == 1 };
            settings.into_iter().all(set)
        }
        #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
        false
    }
}
