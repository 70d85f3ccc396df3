//! What the allocator does with freed memory.

/// What glibc's allocator does with memory that is freed.
///
/// It is a setting of the **whole process**: choose one at the start of a program, before models are
/// loaded. A program that trains and generates, for instance to train on its own answers, takes
/// [`Keep`](Self::Keep). Libraries never set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FreedMemory {
    /// Keeps it: no `mmap` for large blocks, no trimming of the heap. For training, which frees and
    /// allocates the same few sizes thousands of times: with glibc's defaults each new tensor is faulted
    /// in page by page, which doubles the time of a step.
    Keep,
    /// Returns blocks of 64 KiB or more to the system. For inference: by default glibc raises that
    /// threshold to the largest block freed so far. The buffers of a long prompt then come from the
    /// heap, which cannot shrink while anything allocated after them is in use.
    Return,
}

impl FreedMemory {
    /// Applies the setting to this process, in place of any earlier one. Returns whether it was
    /// accepted: always `false` where the system is not Linux with glibc, since nothing is set there.
    pub fn apply_to_process(self) -> bool {
        #[cfg(all(target_os = "linux", target_env = "gnu"))]
        {
            // Each variant sets all three parameters, to override an earlier call. 65,536 maps and 128
            // KiB are glibc's defaults.
            let settings = match self {
                Self::Keep => [
                    (libc::M_MMAP_MAX, 0),
                    (libc::M_TRIM_THRESHOLD, libc::c_int::MAX),
                    (libc::M_MMAP_THRESHOLD, 128 << 10),
                ],
                Self::Return => [
                    (libc::M_MMAP_MAX, 65_536),
                    (libc::M_TRIM_THRESHOLD, 128 << 10),
                    (libc::M_MMAP_THRESHOLD, 64 << 10),
                ],
            };
            #[expect(unsafe_code, reason = "mallopt is a C function")]
            // SAFETY: mallopt takes two integers, touches only malloc's own parameters and takes
            // malloc's lock.
            let set = |(parameter, value)| unsafe { libc::mallopt(parameter, value) == 1 };
            settings.into_iter().all(set)
        }
        #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
        false
    }
}
