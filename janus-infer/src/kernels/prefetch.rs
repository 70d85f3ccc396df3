//! Fetching memory before it is needed.

/// Asks for the cache line where `item` begins. Nothing but the speed changes.
///
/// Processors foresee a walk through memory by themselves, but not beyond the end of a page, and packed weights are used up as fast
/// as they come.
#[inline(always)]
pub(crate) fn prefetch<T>(item: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        #[expect(unsafe_code, reason = "the instruction takes an address")]
        // SAFETY: the address is that of a reference, and the instruction reads nothing into the program.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(item).cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = item;
}
