//! Telling the allocator to keep what it was given back.

/// Makes glibc keep freed memory instead of returning it to the system: no `mmap` for large blocks, no
/// trimming of the heap. Training frees and asks for the same few sizes thousands of times; with
/// glibc's defaults each fresh tensor is faulted in page by page, which doubles the time of a step.
///
/// Call it once at the start of a program, before tensors exist. Elsewhere than on Linux with glibc it
/// does nothing. Returns whether the settings were accepted.
pub fn keep_freed_memory() -> bool {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        #[expect(unsafe_code, reason = "mallopt is C")]
        // SAFETY: mallopt takes two integers, touches only malloc's own parameters and takes malloc's lock.
        let accepted = unsafe { libc::mallopt(libc::M_MMAP_MAX, 0) == 1 && libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX) == 1 };
        accepted
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    false
}
