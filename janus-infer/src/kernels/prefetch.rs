//! Prefetching of memory.

/// Prefetches the cache line where `item` begins. It only affects speed.
///
/// Processors detect sequential reads by themselves, but do not prefetch beyond the end of a page, and
/// packed weights are used as fast as memory delivers them.
#[inline(always)]
pub(crate) fn prefetch<T>(item: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        #[expect(unsafe_code, reason = "the instruction takes an address")]
        // SAFETY: the address comes from a reference, and the instruction only loads the cache.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(item).cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = item;
}
