//! Telling the allocator what to give back.

/// Makes glibc return large blocks to the system when they are freed: those from 64 KiB on are mapped one by one, as they
/// are at first, and go on being so. Left to itself glibc takes the largest block that was freed as the new limit: the buffers of
/// a long prompt then come from the heap, which keeps what lies between those that live on.
///
/// Call it once at the start of a program that runs models, before they are loaded. It cannot be had together with
/// `janus_train::keep_freed_memory`, which is for programs that train. Elsewhere than on Linux with glibc it does nothing. Returns
/// whether the setting was accepted.
pub fn return_freed_memory() -> bool {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        #[expect(unsafe_code, reason = "mallopt is C")]
        // SAFETY: mallopt takes two integers, touches only malloc's own parameters and takes malloc's lock.
        let accepted = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, 64 << 10) == 1 };
        accepted
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    false
}
